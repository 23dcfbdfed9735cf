-- The registry of tenants. It is read before any tenant is known, so it has no row-level security.
CREATE TABLE IF NOT EXISTS shared.tenants (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug varchar(50) NOT NULL UNIQUE,
    name varchar(200) NOT NULL,
    schema_name varchar(100) NOT NULL UNIQUE,
    is_active boolean NOT NULL DEFAULT true,
    config json,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz
);

-- Finds a key's tenant by the key's digest, at the same cost whatever the number of keys and tenants.
CREATE TABLE shared.api_key_index (
    hash varchar(64) PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES shared.tenants (id) ON DELETE CASCADE,
    key_id uuid NOT NULL UNIQUE
);
CREATE INDEX api_key_index_tenant ON shared.api_key_index (tenant_id);

-- What was done to tenants, and by whom. It outlives the tenants.
CREATE TABLE shared.audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    tenant_id uuid,
    target text,
    detail jsonb
);
