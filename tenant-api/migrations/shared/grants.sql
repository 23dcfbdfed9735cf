-- What the run-time role may do in `shared`. {role} is its quoted name.
GRANT USAGE ON SCHEMA shared TO {role};
GRANT SELECT ON shared.tenants, shared.schema_version TO {role};
GRANT SELECT, INSERT, DELETE ON shared.api_key_index TO {role};
GRANT EXECUTE ON FUNCTION shared.caller_by_token(uuid, uuid, uuid), shared.caller_by_key(varchar) TO {role};
