// A client on the TypeScript SDK 1.x (revisions up to 2025-11-25). Argument: what to do, as JSON; stdout: the report.
// It knows no host: the same run works against any server. What it answers when asked is said in `ANSWERS`.
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { SSEClientTransport } = require("@modelcontextprotocol/sdk/client/sse.js");
const types = require("@modelcontextprotocol/sdk/types.js");

const CAPABILITIES = { sampling: {}, elicitation: { form: {} }, roots: {} };
const ANSWERS = {
  "sampling/createMessage": { model: "interop", role: "assistant", content: { type: "text", text: "sampled by interop" } },
  "elicitation/create": { action: "accept", content: { name: "interop" } },
  "roots/list": { roots: [{ uri: "file:///interop", name: "interop" }] },
};

function transport(to) {
  if (to.command) return new StdioClientTransport({ command: to.command[0], args: to.command.slice(1), env: process.env });
  const options = { requestInit: { headers: to.headers } };
  return to.sse ? new SSEClientTransport(new URL(to.sse), options) : new StreamableHTTPClientTransport(new URL(to.url), options);
}

async function main({ to, calls }) {
  const client = new Client({ name: "typescript-v1", version: "1.0.0" }, { capabilities: CAPABILITIES });
  let asked = [];
  const schemas = [types.CreateMessageRequestSchema, types.ElicitRequestSchema, types.ListRootsRequestSchema];
  for (const schema of schemas) {
    client.setRequestHandler(schema, ({ method }) => (asked.push(method), ANSWERS[method]));
  }
  const line = transport(to);
  await client.connect(line);
  const report = { server: client.getServerVersion().name, protocol: line.protocolVersion, listed: [], calls: [] };
  let cursor;
  do {
    const page = await client.listTools({ cursor });
    report.listed.push(...page.tools.map((tool) => tool.name));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  for (const { tool, arguments: given } of calls) {
    asked = [];
    const progress = [];
    const onprogress = (event) => progress.push([event.progress, event.total]);
    try {
      const result = await client.callTool({ name: tool, arguments: given }, undefined, { onprogress });
      const text = result.content.map((block) => block.text ?? `<${block.type}>`).join("\n");
      report.calls.push({ tool, text, failed: result.isError === true, progress, asked });
    } catch (error) {
      report.calls.push({ tool, error: String(error) });
    }
  }
  process.stdout.write(JSON.stringify(report) + "\n");
  await client.close();
}

main(JSON.parse(process.argv[2])).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
