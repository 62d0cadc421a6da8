// Claude Code's `mcp list`, which connects to every server it knows and tells which answer. Argument: {"servers": {name:
// {"url", "headers"}}}; stdout: {"connected": [name, ..], "said": ".."}. Its settings live in a folder that is thrown away.
const { execFileSync } = require("node:child_process");
const { mkdtempSync, mkdirSync, rmSync } = require("node:fs");
const { dirname, join } = require("node:path");
const { tmpdir } = require("node:os");

const CLAUDE = join(dirname(require.resolve(`@anthropic-ai/claude-code-linux-${process.arch}/package.json`)), "claude");
const home = mkdtempSync(join(tmpdir(), "interop-claude-"));
const quiet = { CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", DISABLE_AUTOUPDATER: "1", DISABLE_TELEMETRY: "1" };
const env = { PATH: process.env.PATH, HOME: home, CLAUDE_CONFIG_DIR: join(home, "config"), NO_COLOR: "1", ...quiet };

function claude(...args) {
  return execFileSync(CLAUDE, args, { cwd: join(home, "project"), env, encoding: "utf8", timeout: 60_000 });
}

try {
  mkdirSync(join(home, "project"));
  for (const [name, { url, headers }] of Object.entries(JSON.parse(process.argv[2]).servers)) {
    const extra = Object.entries(headers ?? {}).flatMap(([key, value]) => ["--header", `${key}: ${value}`]);
    claude("mcp", "add", "--transport", "http", name, url, ...extra);
  }
  const said = claude("mcp", "list");
  const lines = said.split("\n").filter((line) => line.endsWith("Connected"));
  process.stdout.write(JSON.stringify({ connected: lines.map((line) => line.split(":")[0]), said }) + "\n");
} finally {
  rmSync(home, { recursive: true, force: true });
}
