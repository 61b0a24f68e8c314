"""The words of SQL that an injection needs: what joins, what continues, what begins a statement, what attacks only.

From the grammars of MySQL 8.4, PostgreSQL 17, SQL Server 2022, Oracle 23 and SQLite 3.
"""

from __future__ import annotations

from typing import Final

LOGICAL: Final = frozenset({"and", "or", "xor"})
COMPARING: Final = frozenset(
    {"like", "rlike", "regexp", "ilike", "glob", "similar", "sounds", "is", "in", "between", "match"}
)
ARITHMETIC_WORDS: Final = frozenset({"div", "mod", "collate", "escape", "overlaps"})
"""Operators that are words and compare nothing."""
BEFORE_OPERAND: Final = frozenset({"not", "binary", "distinct", "all", "any", "some", "exists", "unique", "prior"})
LITERALS: Final = frozenset({"null", "true", "false", "unknown", "default"})
CONSTANTS: Final = frozenset(
    {
        "current_date", "current_time", "current_timestamp", "current_user", "session_user", "system_user",
        "localtime", "localtimestamp", "sysdate", "user", "rownum", "current_schema", "current_catalog",
    }
)  # fmt: skip
"""What servers compute without parentheses."""
SET_OPERATORS: Final = frozenset({"union", "except", "intersect", "minus"})
JOINING: Final = frozenset({"join", "left", "right", "inner", "outer", "cross", "full", "natural", "straight_join"})
RESERVED: Final = frozenset(
    {
        "select", "from", "where", "group", "order", "having", "limit", "union", "except", "intersect", "into",
        "and", "or", "xor", "not", "like", "rlike", "regexp", "in", "is", "between", "as", "on", "using", "case",
        "when", "then", "else", "end", "insert", "update", "delete", "drop", "create", "alter", "by", "asc", "desc",
        "set", "values", "table", "procedure", "waitfor", "exec", "execute", "declare", "fetch", "for",
    }
)  # fmt: skip
"""Words that name neither a column nor a table without quotation marks, in most servers."""
NO_ALIAS: Final = frozenset(
    {
        "a", "an", "the", "this", "that", "these", "your", "our", "my", "his", "her", "their", "its", "one", "some",
        "which", "what", "only", "both", "each", "every", "to", "for", "of", "with", "at", "by", "if", "you", "we", "i",
        "it", "they", "he", "she", "me", "us", "them", "please", "and", "or", "ein", "eine", "einen", "der", "die",
        "das", "den", "le", "la", "les", "un", "une", "el", "los", "las",
    }
)  # fmt: skip
"""Words after which prose goes on with a noun: a name of this kind takes no alias without AS."""

DELAYS: Final = frozenset(
    {"sleep", "benchmark", "pg_sleep", "pg_sleep_for", "pg_sleep_until", "randomblob", "zeroblob"}
)
PROBES: Final = frozenset(
    {
        "pg_sleep", "pg_sleep_for", "pg_sleep_until", "extractvalue", "updatexml", "load_file", "xmltype",
        "xp_cmdshell", "xp_dirtree", "xp_fileexist", "xp_regread", "xp_subdirs", "sp_executesql", "sp_oacreate",
        "sp_oamethod", "sp_password", "sp_configure", "sp_makewebtask", "db_name", "name_const", "gtid_subset",
        "gtid_subtract", "sqlite_version", "load_extension", "lo_get", "lo_import", "lo_export", "lo_from_bytea",
        "pg_read_file", "pg_read_binary_file", "pg_ls_dir", "pg_stat_file", "pg_user", "query_to_xml",
        "database_to_xml", "dblink", "dblink_connect", "utl_http", "utl_inaddr",
        "utl_file", "dbms_pipe", "dbms_lock", "dbms_ldap", "dbms_xmlgen", "dbms_java", "dbms_scheduler",
        "dbms_utility", "httpuritype", "ctxsys", "ordsys", "sys_eval", "sys_exec", "openrowset", "openquery",
        "opendatasource", "fn_xe_file_target_read_file", "fn_trace_gettable", "is_srvrolemember", "xp_loginconfig",
        "fn_varbintohexstr",
    }
)  # fmt: skip
"""Functions and packages that tell about the server, reach files or hosts, or take time: nobody's words in prose."""
CATALOGUES: Final = frozenset(
    {
        "information_schema", "pg_catalog", "pg_shadow", "pg_group", "pg_roles", "pg_authid", "pg_settings", "sysibm", "syscat", "v$instance", "all_objects", "pg_user", "pg_tables", "pg_class", "pg_database",
        "pg_stat_activity", "sqlite_master", "sqlite_schema", "sqlite_temp_master", "sysobjects", "syscolumns",
        "sysdatabases", "sysusers", "syslogins", "all_tables", "all_tab_columns", "all_users", "user_tables",
        "user_tab_columns", "dba_users", "dba_tables", "v$version", "msysobjects", "msysaccessobjects",
        "performance_schema",
    }
)  # fmt: skip
"""Where a server keeps the names of what it keeps."""
SCHEMAS: Final = frozenset({"master", "dbo", "sys", "msdb", "pg_catalog", "mysql", "information_schema"}) | PROBES
"""What stands before the dot when a function is the server's, not a method of some program."""
SERVER_VARIABLES: Final = frozenset(
    {
        "@@version", "@@servername", "@@hostname", "@@datadir", "@@basedir", "@@global", "@@session", "@@version_compile_os",
        "@@version_comment", "@@tmpdir", "@@secure_file_priv", "@@plugin_dir", "@@language", "@@spid", "@@servicename",
        "@@innodb_version", "@@max_allowed_packet", "@@microsoftversion", "@@dbname", "@@identity", "@@rowcount",
    }
)  # fmt: skip
"""What a server tells of itself without a call."""
FUNCTIONS: Final = frozenset(
    {
        "now", "sysdate", "char", "chr", "nchar", "concat", "concat_ws", "group_concat", "count", "json_extract", "json_depth", "json_valid",
        "json_keys", "json_length", "json_value", "json_array", "json_object", "ascii", "ord", "hex", "unhex", "bin", "oct", "conv", "length",
        "len", "char_length", "substr", "substring", "mid", "left", "right", "upper", "lower", "ucase", "lcase", "reverse", "replace", "repeat",
        "trim", "ltrim", "rtrim", "lpad", "rpad", "instr", "locate", "position", "strcmp", "if", "iif", "ifnull", "isnull", "nullif", "coalesce",
        "nvl", "decode", "cast", "convert", "floor", "ceil", "round", "rand", "random", "abs", "sign", "mod", "power", "pow", "exp", "greatest",
        "least", "md5", "sha1", "sha", "sha2", "to_char", "to_number", "to_date", "string_agg", "elt", "field", "make_set", "name_const",
        "version", "user", "database", "schema", "current_user", "session_user", "system_user", "user_name", "suser_name", "db_name", "row", "true",
        "false", "not", "glob", "like", "unicode", "quotename", "str", "stuff", "space", "charindex", "patindex", "bitand",
    }
)  # fmt: skip
"""Functions whose result the data do not decide when their arguments are constants; of others nobody knows."""
STRING_FUNCTIONS: Final = frozenset(
    {
        "concat",
        "concat_ws",
        "group_concat",
        "hex",
        "ascii",
        "char",
        "length",
        "substr",
        "substring",
        "mid",
        "ord",
        "md5",
        "left",
        "right",
        "unhex",
    }
)
"""What an injection wraps an answer in."""
TELLING: Final = frozenset({"version", "user", "database", "schema", "current_user", "session_user", "system_user"})
"""Functions without arguments that tell about the server; their names are words of prose, too."""
COMPARISONS: Final = frozenset(
    {
        "=", "==", "<", ">", "<=", ">=", "<>", "!=", "<=>", "^=", "!<", "!>", "~", "~*", "!~", "!~*", "~~", "~~*", "!~~", "!~~*",
        "@>", "<@", "?", "?|", "?&", "*=",
    }
)  # fmt: skip
"""Operators of signs that compare."""
CLAUSES: Final = frozenset(
    {"from", "where", "having", "group", "order", "limit", "offset", "fetch", "into", "on", "using", "for", "procedure"}
)
UNSEPARATED: Final = frozenset(
    {
        "waitfor", "exec", "execute", "declare", "drop", "shutdown", "insert", "update", "delete", "if", "create", "alter", "truncate",
        "backup",
    }
)  # fmt: skip
"""Statements that SQL Server begins behind another without a semicolon."""
TYPES: Final = frozenset(
    {
        "int", "int2", "int4", "int8", "integer", "bigint", "smallint", "numeric", "decimal", "real", "float", "float4", "float8", "double",
        "text", "varchar", "char", "bpchar", "bool", "boolean", "date", "time", "timestamp", "timestamptz", "json", "jsonb", "xml", "bytea",
        "regclass", "oid", "name", "uuid", "money", "bit", "inet",
    }
)  # fmt: skip
"""Types that PostgreSQL casts to."""
ARGUMENT_WORDS: Final = frozenset(
    {"as", "separator", "placing", "against", "using", "for", "from", "returning", "passing"}
)
"""Words that stand between the arguments of some functions: `substring(a from 1 for 2)`."""
