//! Commands that fetch a program and then become it: `npx`, `uvx` and their like. What they do before the server says its
//! first word may take minutes, and tells nothing of the server.

/// Whether this command may fetch what it runs. Only names are looked at: a wrapper of the user's own is not seen through,
/// but for `env`.
#[must_use]
pub fn fetches(argv: &[String]) -> bool {
    let mut words = argv.iter().map(String::as_str);
    let Some(program) = words.next().map(name) else { return false };
    let rest: Vec<&str> = words.collect();
    let verbs: Vec<&str> = rest.iter().copied().filter(|word| !word.starts_with('-')).take(2).collect();
    match (program, verbs.as_slice()) {
        ("npx" | "uvx" | "bunx" | "pnpx", _) => true,
        ("npm", ["exec" | "x", ..]) | ("bun", ["x", ..]) => true,
        ("pnpm" | "yarn", ["dlx", ..]) => true,
        ("pipx", ["run", ..]) => true,
        // Its options have values: `uv --directory DIR run SCRIPT`.
        ("uv", _) => rest.iter().take(6).any(|word| *word == "run"),
        ("env", _) => {
            let command = rest.iter().position(|word| !word.starts_with('-') && !word.contains('='));
            let command = command.and_then(|at| rest.get(at..)).unwrap_or_default();
            !command.is_empty() && fetches(&command.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
        }
        _ => false,
    }
}

/// The name of a program, whatever its path, and without what Windows puts behind it.
fn name(program: &str) -> &str {
    let name = program.rsplit('/').next().unwrap_or(program);
    [".cmd", ".exe"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::fetches;

    #[test]
    fn launchers_are_known_by_their_names_and_verbs() {
        let fetch = |line: &str| fetches(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for line in [
            "npx -y @modelcontextprotocol/server-everything stdio",
            "/usr/bin/npx x",
            "npm exec --yes -- pkg",
            "npm x pkg",
            "uvx mcp-server-fetch",
            "uv run server.py",
            "uv --quiet tool run pkg",
            "uv --directory /some/where run server.py",
            "bunx pkg",
            "bun x pkg",
            "pnpm dlx pkg",
            "yarn dlx pkg",
            "pipx run pkg",
            "env -i A=b npx pkg",
        ] {
            assert!(fetch(line), "{line}");
        }
        for line in
            ["node npx", "npm run start", "uv tool install x", "pnpm start", "env A=npx node x", "env", ""]
        {
            assert!(!fetch(line), "{line}");
        }
        assert!(!fetches(&[]));
    }
}
