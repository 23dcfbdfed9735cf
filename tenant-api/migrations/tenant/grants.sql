-- What the run-time role may do in a tenant's schema, which is the search_path. {role} and {schema} are quoted names.
-- Users are deactivated and never deleted; what was audited cannot be changed.
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT, INSERT, UPDATE ON users TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON api_keys, sessions TO {role};
GRANT SELECT, INSERT ON audit_log TO {role};
