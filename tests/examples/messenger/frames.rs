//! The binary events (`application/vnd.amazon.eventstream`) in which AWS streams.

use serde_json::Value;

/// An event with a JSON payload.
pub(super) fn event(kind: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[(":message-type", "event"), (":event-type", kind), (":content-type", "application/json")],
        payload,
    )
}

/// An error in the middle of a stream.
pub(super) fn exception(kind: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[(":message-type", "exception"), (":exception-type", kind), (":content-type", "application/json")],
        payload,
    )
}

fn frame(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let payload = payload.to_string();
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend_from_slice(name.as_bytes());
        head.push(7); // a string
        head.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let whole = 16 + head.len() + payload.len();
    let mut frame = Vec::new();
    frame.extend_from_slice(&u32::try_from(whole).unwrap().to_be_bytes());
    frame.extend_from_slice(&u32::try_from(head.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&crc32(&frame).to_be_bytes());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc32(&frame).to_be_bytes());
    frame
}

/// The CRC of zip and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
