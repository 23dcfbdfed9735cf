-- What the run-time role may do in `shared`. {role} is its quoted name.
GRANT USAGE ON SCHEMA shared TO {role};
GRANT SELECT ON shared.tenants, shared.schema_version TO {role};
GRANT SELECT, INSERT, DELETE ON shared.api_key_index TO {role};
