//! Manifests that are wrong in one way each, and what is told: `line:column message / help`.

pub(super) const BAD: &[(&str, &str)] = &[
    ("command = 'x'\ntimeout = 5\n", "2:1 unknown key `timeout` / did you mean `limits.call_timeout`?"),
    (
        "command = 'x'\nstartup_timeout = 5\n",
        "2:1 unknown key `startup_timeout` / did you mean `health.start_timeout`?",
    ),
    (
        "command = 'x'\n[limits]\nreplicas = 5\n",
        "3:1 unknown key `limits.replicas` / did you mean `replicas`?",
    ),
    ("command = 'x'\n[stop]\nzzz = 5\n", "3:1 unknown key `stop.zzz` / known keys: grace, term, drain"),
    (
        "description = 'x'\n",
        "- nothing to run / write `command` (a program), `url` or `targets` (a remote server) or `library` (a native plugin)",
    ),
    ("command = 'x'\nreplica = 2\n", "2:1 unknown key `replica` / did you mean `replicas`?"),
    (
        "command = 'x'\ncall_timeout = '1s'\n",
        "2:1 unknown key `call_timeout` / did you mean `limits.call_timeout`?",
    ),
    (
        "command = 'x'\n[limits]\nconcurency = 2\n",
        "3:1 unknown key `limits.concurency` / did you mean `concurrency`?",
    ),
    ("command = 'x'\nreplicas = '2'\n", "2:12 `replicas` must be a whole number, not a string"),
    ("command = 'x'\nreplicas = 0\n", "2:12 `replicas` must be at least 1"),
    ("command = ['x']\n", "1:11 `command` must be a string, not a list"),
    (
        "command = 'x'\nargs = 'a'\n",
        "2:8 `args` must be a list, not a string / write it in brackets: [\"..\"]",
    ),
    (
        "command = 'x'\nenv = { A = 1 }\n",
        "2:13 `env.A` must be a string, not a whole number / write it in quotes",
    ),
    (
        "command = 'x'\nargs = ['a', 7]\n",
        "2:14 `args.1` must be a string, not a whole number / write it in quotes",
    ),
    (
        "command = 'x'\n[stop]\ngrace = 2\n",
        "3:9 `stop.grace` must be a string, not a whole number / write a whole number and a unit in quotes: \"500ms\", \"10s\", \"5m\", \"1h\"",
    ),
    (
        "command = 'x'\n[stop]\ngrace = '2 s'\n",
        "3:9 `stop.grace` does not have the right form (pattern) / A whole number and a unit: ms, s, m or h.",
    ),
    (
        "command = 'x'\nbalance = 'round-robin'\n",
        "2:11 `balance` must be one of `least_inflight`, `round_robin`, `sticky` / did you mean `round_robin`?",
    ),
    (
        "command = 'x'\nlimits = { rate = '10 per s' }\n",
        "2:19 `limits.rate` does not have the right form (pattern) / A whole number, a slash, and s, m or h.",
    ),
    (
        "url = 'http://a/'\ntargets = [{ url = 'http://b/' }]\n",
        "2:1 `url` and `targets` exclude each other / write each endpoint as one of `targets`",
    ),
    ("targets = []\n", "1:11 `targets` is empty / write [[targets]] with a `url` for each endpoint"),
    (
        "command = 'x'\ntargets = [{ url = 'http://b/' }]\n",
        "2:1 `targets` has no effect with `command`: it is for remote servers",
    ),
    (
        "targets = [{ url = 'http://a/' }, { url = 'ftp://b/' }]\n",
        "1:43 `url` must begin with http:// or https://",
    ),
    (
        "replicas = 2\ntargets = [{ url = 'http://a/' }]\n",
        "1:12 `replicas` has no effect with `targets`: each of them is one instance",
    ),
    (
        "standby = 2\ntargets = [{ url = 'http://a/' }]\n",
        "1:11 `standby` has no effect with `targets`: each of them is one instance / give those that stand by a higher `priority`",
    ),
    ("command = 'x'\nport = 'any'\n", "2:8 `port` must be one of `auto`, or a number from 1 to 65535"),
    ("command = 'x'\nport = 70000\n", "2:8 `port` must be one of `auto`, or a number from 1 to 65535"),
    ("command = ''\n", "1:11 `command` is empty"),
    ("command = \"a\\u0000b\"\n", "1:11 `command` holds a NUL character"),
    (
        "command = 'x'\nnamespace = 'a b'\n",
        "2:13 `namespace` is no part of a tool's name / at most 64 letters, digits, `_` and `-`",
    ),
    (
        "command = 'x'\nargs = ['${port}']\n",
        "2:9 `${port}` is used, but nothing connects to it / write where the server listens: url = \"http://127.0.0.1:${port}/mcp\"",
    ),
    ("command = 'x'\nport = 80\n", "2:1 `port` has no effect: nothing uses `${port}`"),
    (
        "command = 'x'\nurl = 'http://a:1/'\ndialect = 'stdio'\n",
        "3:11 the dialect `stdio` has no url / leave out `url`, or write the dialect that the server speaks there",
    ),
    (
        "command = 'x'\nurl = 'http://127.0.0.1:8080/mcp'\nreplicas = 2\n",
        "2:7 all replicas would listen at the same address / write `${port}` for the port",
    ),
    (
        "command = 'x'\nurl = 'http://127.0.0.1:8080/mcp'\nisolation = 'session'\n",
        "2:7 with isolation = \"session\" the processes of all sessions would listen at the same address / write `${port}` for the port",
    ),
    (
        "command = 'x'\nurl = 'http://127.0.0.1:${port}/mcp'\nisolation = 'session'\nport = 9000\n",
        "4:8 `port` is one port, but with isolation = \"session\" each session has a process / write port = \"auto\"",
    ),
    (
        "command = 'x'\nurl = 'http://a:${port}/'\nreplicas = 3\nport = 65534\n",
        "4:8 3 replicas need the ports from 65534 on, but they end at 65535 / choose a lower port, or \"auto\"",
    ),
    (
        "url = 'http://a/'\nargs = ['x']\n",
        "2:1 `args` has no effect without `command`: nothing is launched for a remote server",
    ),
    (
        "library = './a.so'\ncommand = 'x'\n",
        "2:1 `command` has no effect with `library`: the host serves the library itself, on stdio",
    ),
    (
        "command = 'x'\nheaders = { a = 'b' }\n",
        "2:1 `headers` has no effect with `command`: it is for remote servers",
    ),
    ("url = 'ftp://a/'\n", "1:7 `url` must begin with http:// or https://"),
    ("url = 'http://'\n", "1:7 `url` is not valid: write http://host:port/path"),
    ("url = 'http://u:p@a/'\n", "1:7 `url` holds a user or password / use `auth` or `headers`"),
    (
        "url = 'http://a:${port}/'\n",
        "1:7 `${port}` has no value: nothing is launched for a remote server / write `command` too, if the host shall launch the server",
    ),
    ("url = 'http://a/'\nheaders = { 'a b' = 'c' }\n", "2:13 this is no name of a header"),
    ("url = 'http://a/'\nheaders = { Host = 'c' }\n", "2:13 the host sets this header itself"),
    (
        "url = 'http://a/'\nheaders = { a = \"c\\nd\" }\n",
        "2:17 this is no value of a header: it holds a line break or another control character",
    ),
    (
        "url = 'http://a/'\nheaders = { a = 'c', A = 'd' }\n",
        "2:13 this header is there twice; upper and lower case are the same",
    ),
    (
        "url = 'http://a/'\nheaders = { Authorization = 'c' }\nauth = { bearer = 'x' }\n",
        "3:19 `auth.bearer` and a header `authorization` exclude each other",
    ),
    ("url = 'http://a/'\n[auth]\n", "2:1 `auth.bearer` is missing"),
    (
        "command = 'x'\nenv = { 'A=B' = 'c' }\n",
        "2:9 no name of an environment variable: it is empty, or holds `=` or NUL",
    ),
    (
        "command = 'x'\n[tools]\nexclude = ['a', '[']\n",
        "3:17 this is no pattern: unclosed character class; missing ']'",
    ),
    (
        "command = 'x'\n[tools.rename]\na = 'c d'\n",
        "3:5 a tool's name is 1 to 128 letters, digits, `_`, `-`, `.` and `/`",
    ),
    ("command = 'x'\n[tools.rename]\na = 'c'\nb = 'c'\n", "4:5 `a` is renamed to `c` as well"),
    (
        "command = 'x'\n[limits]\ncall_timeout = '700s'\n",
        "3:16 `limits.call_timeout` (700s) is longer than `limits.max_timeout` (600s) / change it, or write `limits.max_timeout` too",
    ),
    (
        "command = 'x'\n[limits]\nmax_timeout = '1s'\n",
        "3:15 `limits.call_timeout` (60s) is longer than `limits.max_timeout` (1s) / change it, or write `limits.call_timeout` too",
    ),
    ("command = 'x'\n[health]\ntimeout = '0s'\n", "3:11 `health.timeout` must be longer than nothing"),
    (
        "command = 'x'\nidle_stop = '10m'\n",
        "2:1 `idle_stop` has no effect without start = \"lazy\" / write start = \"lazy\", or leave it out",
    ),
    (
        "command = 'x'\nstart = 'lazy'\nidle_stop = '5ms'\n",
        "3:13 `idle_stop` (5ms) is shorter than 1s / a plugin that is started for every single call costs more than it saves",
    ),
    ("command = 'x'\nstart = 'late'\n", "2:9 `start` must be one of `eager`, `lazy`"),
    ("command = 'x'\n[health]\ncanary = {}\n", "3:10 `health.canary.tool` is missing"),
    (
        "command = 'x'\n[stop]\ngrace = '61s'\n",
        "3:9 `stop.grace` (61s) is longer than 60s / give calls in flight their time with `stop.drain`",
    ),
    (
        "url = 'http://a/mcp'\n[stop]\nterm = '1h'\n",
        "3:8 `stop.term` (3600s) is longer than 60s / give calls in flight their time with `stop.drain`",
    ),
    (
        "url = 'https://a/mcp'\n[health]\nprobe = 'http:/health'\n",
        "3:9 this probe speaks plain HTTP, but `url` begins with https:// / use \"mcp\" or \"tcp\"",
    ),
    (
        "command = 'x'\nurl = 'https://localhost:7000/mcp'\n[health]\nprobe = 'http:/health'\n",
        "4:9 this probe speaks plain HTTP, but `url` begins with https:// / use \"mcp\" or \"tcp\"",
    ),
    (
        "command = 'x'\n[health]\nprobe = 'tcp'\n",
        "3:9 this probe needs a port, but the plugin speaks on stdin and stdout / use \"mcp\", or give the plugin a `url`",
    ),
    (
        "command = 'x'\nargs = ['a', 'b ${NOPE} c']\n",
        "2:17 the variable NOPE is not set / set it in the host's environment or in `env_file`, or give a default: ${NOPE:-default}",
    ),
    (
        "command = 'x'\nargs = ['${EMPTY:?say it}']\n",
        "2:10 the variable EMPTY is not set: say it / set it in the host's environment or in `env_file`",
    ),
    ("command = 'x'\nargs = ['${file:none}']\n", "2:10 the file none of ${file:..} does not exist"),
    ("command = 'x'\nargs = ['${X']\n", "2:10 `${` without a closing `}`"),
    (
        "command = 'x'\ncwd = '/${replica}'\n",
        "2:7 `${port}` and `${replica}` are not known here: it is the same for all instances",
    ),
];
