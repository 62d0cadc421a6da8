//! The messages, as literals. Each case is one request with all that comes of it; what stands in them is what typed models
//! of MCP lose, change or refuse.
//!
//! Placeholders stand where wharf, or the client's era, has the word: @NAME@ for the name that is offered at an endpoint,
//! @TOKEN@ for a progress token, @HOP@ for what a modern client says of its own hop.

/// A request, and all that is said until it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) method: &'static str,
    /// What it names: a tool, a prompt, or nothing that is namespaced.
    pub(super) name: &'static str,
    pub(super) params: &'static str,
    /// Notifications that the plugin sends first: method and params.
    pub(super) says: &'static [(&'static str, &'static str)],
    pub(super) asks: Option<Ask>,
    /// The members of the answer beside its id.
    pub(super) answer: &'static str,
}

/// What the plugin asks the client meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// The plugin's id for it.
    pub(super) id: &'static str,
    pub(super) method: &'static str,
    pub(super) params: &'static str,
    /// The members of the client's answer.
    pub(super) reply: &'static str,
}

const fn tool(name: &'static str, params: &'static str, answer: &'static str) -> Case {
    Case { method: "tools/call", name, params, says: &[], asks: None, answer }
}

const fn asking(name: &'static str, ask: Ask, answer: &'static str) -> Case {
    let params = r#"{"name":"@NAME@","_meta":{"progressToken":@TOKEN@@HOP@}}"#;
    Case { asks: Some(ask), ..tool(name, params, answer) }
}

const PLAIN: &str = r#"{"name":"@NAME@","arguments":{},"_meta":{"progressToken":@TOKEN@@HOP@}}"#;
const DONE: &str = r#""result":{"content":[]}"#;

/// What is said at every endpoint.
pub(super) const CASES: &[Case] = &[
    tool(
        "unknown-fields",
        r#"{"vendor":{"x":[null]},"name":"@NAME@","arguments":{"a":true},"task":{"ttl":60000,"vendor":1.0},"_meta":{"com.example/k":[1.0],"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=1","baggage":"k=v","progressToken":@TOKEN@@HOP@}}"#,
        r#""result":{"content":[{"type":"text","text":"t","vendor":{"x":1.0},"annotations":{"audience":["user","vendor"],"priority":1,"hint":true},"_meta":{"k":1}}],"vendor":[{}],"_meta":{"com.example/k":{"n":1.0},"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}"#,
    ),
    tool(
        "numbers",
        r#"{"name":"@NAME@","arguments":{"n":[1.0,1e2,1E+2,-0,-0.0,0.10,18446744073709551616,-9223372036854775809,123456789012345678901234567890.123456789012345678901234567890,1e400,1e-400]},"_meta":{"n":1.0,"progressToken":@TOKEN@@HOP@}}"#,
        r#""result":{"content":[],"structuredContent":{"n":[1.0,1e2,1E+2,-0,-0.0,0.10,18446744073709551616,-9223372036854775809,123456789012345678901234567890.123456789012345678901234567890,1e400,1e-400]}}"#,
    ),
    tool(
        "escapes",
        r#"{"name":"@NAME@","arguments":{"s":"\u0061\/\u00e9\ud83d\ude00\b\f\n\r\t\"\\ é☂\u2028","\u006b":1,"nul":"\u0000","half":"\ud800"},"_meta":{"\u006b":"\/","progressToken":@TOKEN@@HOP@}}"#,
        r#""result":{"content":[{"type":"text","text":"\u0061\/\u00e9\ud83d\ude00\b\f\n\r\t\"\\ é☂\u2028\u0000\ud800"}],"\u006b":"\/"}"#,
    ),
    tool(
        "twice",
        r#"{"name":"@NAME@","arguments":{"x":1,"x":2.0,"X":3},"vendor":1,"vendor":2,"_meta":{"k":1,"k":2,"progressToken":@TOKEN@@HOP@}}"#,
        r#""result":{"content":[],"x":1,"x":2.0,"structuredContent":{"y":1,"y":1.0}}"#,
    ),
    tool(
        "blanks",
        r#"{ "arguments" : { "a" :	[ 1 , 2 ] } , "_meta" : { "k"  : 1 , "progressToken" : @TOKEN@@HOP@ } , "name" : "@NAME@" }"#,
        r#""result":{ "content" : [ ] ,	"a"  :  [ 1 ,2 ] }"#,
    ),
    tool("no-arguments", r#"{"name":"@NAME@","_meta":{"progressToken":@TOKEN@@HOP@}}"#, r#""result":{}"#),
    tool(
        "null",
        r#"{"name":"@NAME@","arguments":{"x":null,"":{"":[]}},"x":null,"_meta":{"x":null,"progressToken":@TOKEN@@HOP@}}"#,
        r#""result":{"content":[],"structuredContent":null,"isError":false,"":{"":[]}}"#,
    ),
    tool(
        "scalar",
        PLAIN,
        r#""result":{"structuredContent":1.0,"isError":true,"content":[{"type":"text","text":""}]}"#,
    ),
    tool("array", PLAIN, r#""result":{"content":[],"structuredContent":[{"a":1.0},[],"x"]}"#),
    tool(
        "content",
        PLAIN,
        r#""result":{"content":[{"type":"video","data":"AA==","fps":30.0},{"type":"resource_link","uri":"v://a"},{"type":"resource","resource":{"uri":"v://b","text":"","vendor":1},"x":2},{"type":"image","data":"AA==","mimeType":"image/png","vendor":{}},{"type":"audio","mimeType":"audio/wav","data":""},{"text":"of no type"},7]}"#,
    ),
    tool(
        "task",
        PLAIN,
        r#""result":{"task":{"taskId":"fidelity","status":"working","ttl":1e3,"pollInterval":5.0,"vendor":[]}}"#,
    ),
    tool(
        "deep",
        r#"{"name":"@NAME@","arguments":{"d":[[[[[[[[[[[[[[[[{"d":[[[[[[[[[[[[[[[[1.0]]]]]]]]]]]]]]]]}]]]]]]]]]]]]]]]]},"_meta":{"progressToken":@TOKEN@@HOP@}}"#,
        r#""result":{"d":[[[[[[[[[[[[[[[[{"d":[[[[[[[[[[[[[[[[1.0]]]]]]]]]]]]]]]]}]]]]]]]]]]]]]]]]}"#,
    ),
    tool(
        "error",
        PLAIN,
        r#""error":{"code":-32099,"message":"no ☂","data":{ "n" : 1.0 , "big":18446744073709551616,"s":"\u0061\/","x":1,"x":2}}"#,
    ),
    tool(
        "error-vendor",
        PLAIN,
        r#""error":{ "vendor" : [1.0,{"k":1,"k":2}] ,"message":"n\u006f \/", "code" : -32098 , "data":{"n":1.0},"_meta":{"x":1e2} }"#,
    ),
    tool("error-null", PLAIN, r#""error":{"code":7,"message":"","data":null}"#),
    Case {
        says: &[
            (
                "notifications/progress",
                r#"{"progressToken":@TOKEN@,"progress":1,"total":3,"vendor":{"n":1.0}}"#,
            ),
            (
                "notifications/progress",
                r#"{ "progress" : 1.0 , "message":"\u0061\/","progressToken" : @TOKEN@ }"#,
            ),
            ("notifications/progress", r#"{"progress":1e2,"progressToken":@TOKEN@,"_meta":{"k":-0}}"#),
            (
                "notifications/message",
                r#"{"level":"warning","data":{"n":1.0,"x":1,"x":2},"vendor":"\u0061"}"#,
            ),
            (
                "notifications/message",
                r#"{ "data" : 18446744073709551616 , "level" : "error" , "logger":"l" }"#,
            ),
        ],
        ..tool("says", PLAIN, DONE)
    },
    asking(
        "sampling",
        Ask {
            id: r#""q\u0031\/""#,
            method: "sampling/createMessage",
            params: r#"{"messages":[{"role":"user","content":[{"type":"tool_result","toolUseId":"1","content":[],"vendor":1.0},{"type":"vendor"}],"x":1}],"maxTokens":1e2,"temperature":1.0,"tools":[{"name":"t","inputSchema":{"type":"object"},"vendor":{}}],"toolChoice":{"mode":"vendor"},"metadata":{"n":18446744073709551616},"vendor":null,"_meta":{"k":"\/"}}"#,
            reply: r#""result":{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"t","input":{"n":1.0},"vendor":-0}],"model":"\u006d","stopReason":"vendor","vendor":[1e2],"_meta":{"k":1}}"#,
        },
        DONE,
    ),
    asking(
        "elicitation",
        Ask {
            id: "18446744073709551616",
            method: "elicitation/create",
            params: r#"{"mode":"form","message":"\u003f","requestedSchema":{"type":"object","properties":{"n":{"type":"number","default":1.0,"vendor":1}},"x-vendor":[]},"vendor":{ "a" : 1 }}"#,
            reply: r#""result":{ "action" : "accept" , "content":{"n":1.0,"big":18446744073709551616,"x":1,"x":2},"vendor":1e2}"#,
        },
        DONE,
    ),
    asking(
        "unknown-mode",
        Ask {
            id: "-3",
            method: "elicitation/create",
            params: r#"{"mode":"vendor","message":"?","vendor":[1.0]}"#,
            reply: r#""result":{"vendor":null,"action":"cancel"}"#,
        },
        DONE,
    ),
    asking(
        "url-mode",
        Ask {
            id: r#""""#,
            method: "elicitation/create",
            params: r#"{"mode":"url","message":"?","url":"https:\/\/example.com\/","elicitationId":"\u0065","vendor":1.0}"#,
            reply: r#""result":{"action":"decline","vendor":{"":0.0}}"#,
        },
        DONE,
    ),
    asking(
        "roots",
        Ask {
            id: "0",
            method: "roots/list",
            params: r#"{"vendor":1.0,"_meta":{"k":[1e2]}}"#,
            reply: r#""result":{ "roots" : [{"uri":"file:\/\/\/a","name":"\u0061","vendor":1.0}] , "vendor":-0}"#,
        },
        r#""result":{"content":[],"n":1.0}"#,
    ),
    Case {
        method: "prompts/get",
        name: "prompt",
        params: r#"{"vendor":1.0,"name":"@NAME@","arguments":{"a":"\u0061"},"_meta":{"k":1e2,"progressToken":@TOKEN@@HOP@}}"#,
        says: &[],
        asks: None,
        answer: r#""result":{"messages":[{"role":"system","content":{"type":"vendor","n":1.0},"x":1}],"vendor":[]}"#,
    },
    Case {
        method: "completion/complete",
        name: "prompt",
        params: r#"{"ref":{"vendor":1.0,"type":"ref/prompt","name":"@NAME@"},"argument":{"name":"a","value":"\u0061","x":1},"context":{"arguments":{},"n":1.0},"_meta":{"progressToken":@TOKEN@@HOP@}}"#,
        says: &[],
        asks: None,
        answer: r#""result":{"completion":{"values":["\u0061"],"total":1.0,"vendor":[]},"vendor":-0}"#,
    },
    Case {
        method: "resources/read",
        name: "",
        params: r#"{"uri":"v://res","vendor":{"n":1.0},"_meta":{"progressToken":@TOKEN@@HOP@}}"#,
        says: &[],
        asks: None,
        answer: r#""result":{"contents":[{"uri":"v://res","text":"\u0061","vendor":1.0},{"uri":"v://b","vendor":"neither text nor blob"}],"vendor":1e2}"#,
    },
];

/// What only a legacy client says, and only to the one plugin of an endpoint.
pub(super) const OWN: &[Case] = &[
    Case {
        method: "vendor/object",
        name: "",
        params: r#"{ "n" : 1.0 , "x":1,"x":2,"_meta":{"progressToken":@TOKEN@}}"#,
        says: &[],
        asks: None,
        answer: r#""result":[1.0,"no object"]"#,
    },
    Case {
        method: "vendor/array",
        name: "",
        params: r#"[ 1.0 , {"_meta":{}} ]"#,
        says: &[],
        asks: None,
        answer: r#""result":null"#,
    },
];

/// What the plugin says of itself: a legacy client of its own endpoint is told each of these.
pub(super) const HELLO: &[&str] = &[
    r#""experimental":{ "com.example/x" : {"n":1.0} }"#,
    r#""vendor":{"deep":[1e2,null]}"#,
    r#""tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}},"vendor":1.0}"#,
    r#""completions":{"vendor":-0}"#,
    r#"{"name":"literal","title":"\u0061","version":"1.0","vendor":1.0,"icons":[{"src":"data:,","theme":"vendor"}]}"#,
];

/// Entries of its lists: method, key, entry.
pub(super) const LISTED: &[(&str, &str, &str)] = &[
    (
        "tools/list",
        "tools",
        r#"{ "inputSchema" : {"type":"object","x-vendor":1.0,"properties":{"n":{"minimum":1e2,"const":18446744073709551616}}} , "name" : "@NAME@" , "execution":{"taskSupport":"optional","vendor":1},"annotations":{"readOnlyHint":true,"vendorHint":1.0},"icons":[],"title":"\u0061\/","vendor":null,"_meta":{"ui":{"resourceUri":"ui://a"},"k":-0}}"#,
    ),
    (
        "prompts/list",
        "prompts",
        r#"{"vendor":1.0,"name":"@NAME@","arguments":[{"name":"a","required":false,"vendor":1e2}],"title":"\u0061"}"#,
    ),
    (
        "resources/list",
        "resources",
        r#"{ "uri" : "v://res","name":"r","size":1.0,"annotations":{"audience":["vendor"],"priority":1,"x":1},"vendor":[]}"#,
    ),
    (
        "resources/templates/list",
        "resourceTemplates",
        r#"{"uriTemplate":"w://{x}","name":"t","vendor":18446744073709551616,"_meta":{"k":1.0}}"#,
    ),
];
