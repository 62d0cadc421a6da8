// The command line of MCP Inspector: one process per request, so it is told no progress and asked nothing.
// Argument: what to do, as JSON; stdout: the report.
const { execFileSync } = require("node:child_process");
const { dirname, join } = require("node:path");

const LAUNCHER = join(dirname(require.resolve("@modelcontextprotocol/inspector/package.json")), "clients/launcher/build/index.js");

function inspector(to, args) {
  const headers = Object.entries(to.headers ?? {}).flatMap(([name, value]) => ["--header", `${name}: ${value}`]);
  const target = to.command ? ["--transport", "stdio", ...to.command] : ["--transport", to.sse ? "sse" : "http", "--server-url", to.sse ?? to.url];
  const era = ["--protocol-era", to.sse ? "legacy" : "auto"];
  const all = [LAUNCHER, "--cli", ...target, ...headers, ...era, "--stored-auth-only", "--quiet", "--format", "json", ...args];
  try {
    return JSON.parse(execFileSync(process.execPath, all, { encoding: "utf8", timeout: 60_000, stdio: ["ignore", "pipe", "pipe"] }));
  } catch (error) {
    // A tool that failed is a result too, though the exit code is not 0.
    if (error.stdout) return JSON.parse(error.stdout);
    throw error;
  }
}

const { to, calls } = JSON.parse(process.argv[2]);
const listed = inspector(to, ["--method", "tools/list"]);
const report = { listed: (listed.result ?? listed).tools.map((tool) => tool.name), calls: [] };
for (const { tool, arguments: given } of calls) {
  try {
    const said = inspector(to, ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", JSON.stringify(given)]);
    const result = said.result ?? said;
    const text = result.content.map((block) => block.text ?? `<${block.type}>`).join("\n");
    report.calls.push({ tool, text, failed: result.isError === true, progress: [], asked: [] });
  } catch (error) {
    report.calls.push({ tool, error: `${error}\n${error.stderr}` });
  }
}
process.stdout.write(JSON.stringify(report) + "\n");
