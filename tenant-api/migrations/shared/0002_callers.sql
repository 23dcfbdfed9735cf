-- Who is calling. Every request asks, so it is one statement and a transaction of its own. Both functions run with the rights of the
-- role that calls them: row-level security binds them too. They return no row without an active tenant, and no user_id without a user.
CREATE FUNCTION shared.caller_by_token(tenant uuid, person uuid, login uuid)
RETURNS TABLE (
    tenant_id uuid, slug varchar, config text,
    user_id uuid, email varchar, name varchar, role varchar, created_at timestamptz
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_tenant shared.tenants;
BEGIN
    SELECT * INTO found_tenant FROM shared.tenants t WHERE t.id = tenant AND t.is_active;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM set_config('app.current_tenant_id', found_tenant.id::text, true), set_config('lock_timeout', '5s', true);
    RETURN QUERY EXECUTE format(
        'SELECT $1, $2, $3, u.id, u.email, u.name, u.role, u.created_at '
        'FROM (VALUES (true)) one (row) LEFT JOIN %1$I.users u ON u.id = $4 AND u.is_active AND ($5 IS NULL OR EXISTS '
        '(SELECT FROM %1$I.sessions s WHERE s.id = $5 AND s.user_id = u.id AND s.revoked_at IS NULL))',
        found_tenant.schema_name)
        USING found_tenant.id, found_tenant.slug, found_tenant.config::text, person, login;
END
$$;

-- Also notes the use of the key, once a minute at most: a write for every request would cost more than the request. The key is found
-- by its id: row-level security lets no index find it by its digest, since the policy's comparison comes first.
CREATE FUNCTION shared.caller_by_key(digest varchar)
RETURNS TABLE (
    tenant_id uuid, slug varchar, config text,
    user_id uuid, email varchar, name varchar, role varchar, created_at timestamptz
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_key uuid;
    found_tenant shared.tenants;
    usable boolean;
    stale boolean;
BEGIN
    SELECT k.key_id INTO found_key FROM shared.api_key_index k WHERE k.hash = digest;
    SELECT t.* INTO found_tenant FROM shared.api_key_index k JOIN shared.tenants t ON t.id = k.tenant_id
        WHERE k.hash = digest AND t.is_active;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM set_config('app.current_tenant_id', found_tenant.id::text, true), set_config('lock_timeout', '5s', true);
    EXECUTE format(
        'SELECT k.is_active AND coalesce(k.expires_at > now(), true), coalesce(k.last_used_at < now() - interval ''1 minute'', true) '
        'FROM %I.api_keys k WHERE k.id = $1 AND k.key_hash = $2', found_tenant.schema_name)
        INTO usable, stale USING found_key, digest;
    IF usable IS NOT TRUE THEN
        RETURN;
    END IF;
    IF stale THEN
        EXECUTE format('UPDATE %I.api_keys SET last_used_at = now() WHERE id = $1', found_tenant.schema_name) USING found_key;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT $1, $2, $3, u.id, u.email, u.name, u.role, u.created_at '
        'FROM %1$I.api_keys k LEFT JOIN %1$I.users u ON u.id = k.user_id AND u.is_active WHERE k.id = $4',
        found_tenant.schema_name)
        USING found_tenant.id, found_tenant.slug, found_tenant.config::text, found_key;
END
$$;
REVOKE EXECUTE ON FUNCTION shared.caller_by_token(uuid, uuid, uuid), shared.caller_by_key(varchar) FROM PUBLIC;
