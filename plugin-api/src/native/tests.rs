use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::{Exports, Native, OpenRefused, Peer, SendFn};
use crate::author::{Server, Tool};
use crate::pipe::{Pipe, Sink};

const PATIENCE: Duration = Duration::from_secs(30);

/// The functions that `export_native!($build)` would export, without their names.
macro_rules! exports {
    ($build:path) => {{
        unsafe extern "C" fn open(send: Option<SendFn>, ctx: *mut c_void) -> *mut c_void {
            // SAFETY: only `Peer` calls this.
            unsafe { super::open(|| $build(), send, ctx) }
        }
        Exports { open, receive: super_receive, close: super_close }
    }};
}

unsafe extern "C" fn super_receive(handle: *mut c_void, message: *const u8, length: usize) {
    // SAFETY: only `Peer` calls this, with a handle of `open`.
    unsafe { super::receive(handle, message, length) }
}

unsafe extern "C" fn super_close(handle: *mut c_void) {
    // SAFETY: only `Peer` calls this, with a handle of `open`.
    unsafe { super::close(handle) }
}

fn connect(exports: Exports) -> (Result<Peer, OpenRefused>, mpsc::Receiver<String>) {
    let (to, from) = mpsc::channel();
    let sink: Sink =
        Arc::new(move |message: &[u8]| to.send(String::from_utf8(message.to_vec()).unwrap()).unwrap());
    // SAFETY: the functions are those of this crate, which is never unloaded.
    (unsafe { Peer::open(exports, sink) }, from)
}

fn hello() -> Server {
    Server::new("hello", "1.0.0").tool(Tool::new("hello", ""), |_| Ok("hello"))
}

#[test]
fn a_server_answers_across_the_border() {
    let (peer, answers) = connect(exports!(hello));
    let peer = peer.unwrap();
    peer.receive(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hello"}}"#);
    let answer = answers.recv_timeout(PATIENCE).unwrap();
    assert!(answer.contains(r#""text":"hello""#), "{answer}");
    peer.receive(b"");
    assert!(answers.recv_timeout(PATIENCE).unwrap().contains("-32700"));
}

fn panics() -> Server {
    panic!("on purpose")
}

fn wrong() -> Server {
    Server::new("x", "1").tool(Tool::new("", ""), |_| Ok(""))
}

#[test]
fn a_library_that_cannot_open_gives_no_handle() {
    assert_eq!(connect(exports!(panics)).0.unwrap_err(), OpenRefused);
    assert_eq!(connect(exports!(wrong)).0.unwrap_err(), OpenRefused);
    // SAFETY: without a function to call nothing is called.
    assert!(unsafe { super::open(hello, None, std::ptr::null_mut()) }.is_null());
}

/// Panics at every step.
struct Bomb;

impl Pipe for Bomb {
    fn receive(&self, _: &[u8]) {
        panic!("on purpose")
    }

    fn close(&self) {
        panic!("on purpose")
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose")
    }
}

struct Armed;

impl Native for Armed {
    fn open(self, _: Sink) -> Result<Box<dyn Pipe>, String> {
        Ok(Box::new(Bomb))
    }
}

fn armed() -> Armed {
    Armed
}

#[test]
fn a_panic_does_not_cross_the_border_and_its_request_is_answered() {
    let (peer, answers) = connect(exports!(armed));
    let peer = peer.unwrap();
    peer.receive(br#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#);
    let answer = answers.recv_timeout(PATIENCE).unwrap();
    assert!(answer.starts_with(r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32603"#), "{answer}");
    peer.receive(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    drop(peer);
    assert!(answers.try_recv().is_err());
}

/// Keeps its sink beyond its own end.
static KEPT: Mutex<Option<Sink>> = Mutex::new(None);
static CLOSED: AtomicBool = AtomicBool::new(false);

struct Keeper;

impl Pipe for Keeper {
    fn receive(&self, message: &[u8]) {
        KEPT.lock().unwrap().as_ref().unwrap()(message);
    }

    fn close(&self) {
        CLOSED.store(true, Ordering::SeqCst);
        KEPT.lock().unwrap().as_ref().unwrap()(b"last");
    }
}

impl Native for Keeper {
    fn open(self, sink: Sink) -> Result<Box<dyn Pipe>, String> {
        *KEPT.lock().unwrap() = Some(sink);
        Ok(Box::new(self))
    }
}

fn keeper() -> Keeper {
    Keeper
}

/// Without a [`Peer`], whose own door would hide that the library's is open.
#[test]
fn a_library_sends_nothing_after_close() {
    unsafe extern "C" fn take(ctx: *mut c_void, message: *const u8, length: usize) {
        // SAFETY: the context is the one passed below, and the buffer lives during the call.
        let (seen, message) =
            unsafe { (&*ctx.cast::<Mutex<Vec<Vec<u8>>>>(), std::slice::from_raw_parts(message, length)) };
        seen.lock().unwrap().push(message.to_vec());
    }
    let seen: Mutex<Vec<Vec<u8>>> = Mutex::default();
    // SAFETY: the context outlives the handle, which is closed once; the buffer lives during the call.
    unsafe {
        let handle = super::open(keeper, Some(take), std::ptr::from_ref(&seen).cast_mut().cast());
        super::receive(handle, b"first".as_ptr(), 5);
        super::close(handle);
    }
    assert!(CLOSED.load(Ordering::SeqCst));
    KEPT.lock().unwrap().as_ref().unwrap()(b"too late");
    assert_eq!(*seen.lock().unwrap(), [b"first".to_vec(), b"last".to_vec()]);
}

/// A library that breaks the contract: it sends after it was closed.
#[test]
fn a_late_message_finds_a_shut_door() {
    static CALL: Mutex<Option<(SendFn, usize)>> = Mutex::new(None);
    unsafe extern "C" fn open(send: Option<SendFn>, ctx: *mut c_void) -> *mut c_void {
        *CALL.lock().unwrap() = send.map(|send| (send, ctx as usize));
        std::ptr::dangling_mut()
    }
    unsafe extern "C" fn receive(_: *mut c_void, _: *const u8, _: usize) {}
    unsafe extern "C" fn close(_: *mut c_void) {}

    let (peer, answers) = connect(Exports { open, receive, close });
    let (send, ctx) = CALL.lock().unwrap().unwrap();
    // SAFETY: the context is the one that came with the function, and the buffer lives during the call.
    let late = |text: &[u8]| unsafe { send(ctx as *mut c_void, text.as_ptr(), text.len()) };
    late(b"in time");
    drop(peer);
    late(b"too late");
    assert_eq!(answers.try_iter().collect::<Vec<_>>(), ["in time"]);
}
