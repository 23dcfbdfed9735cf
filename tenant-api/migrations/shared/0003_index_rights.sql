-- Whoever serves requests finds the tenant of any key, and adds and removes keys of the tenant that it works for only. Not forced: the
-- owner deletes tenants, and their keys with them.
ALTER TABLE shared.api_key_index ENABLE ROW LEVEL SECURITY;
CREATE POLICY find ON shared.api_key_index FOR SELECT USING (true);
CREATE POLICY add_own ON shared.api_key_index FOR INSERT
    WITH CHECK (tenant_id::text = current_setting('app.current_tenant_id', true));
CREATE POLICY remove_own ON shared.api_key_index FOR DELETE
    USING (tenant_id::text = current_setting('app.current_tenant_id', true));
