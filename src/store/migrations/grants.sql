-- What the role of the replicas may, given anew after every migration; $role stands for its quoted name.
-- Events are read and appended, never changed: only slipform.append, which runs as the owner, writes them.
REVOKE ALL ON ALL TABLES IN SCHEMA slipform FROM $role;
GRANT USAGE ON SCHEMA slipform TO $role;
GRANT SELECT ON slipform.installation, slipform.migrations, slipform.heads, slipform.events TO $role;
GRANT SELECT, INSERT, UPDATE, DELETE ON slipform.leases, slipform.keys TO $role;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA slipform TO $role;
