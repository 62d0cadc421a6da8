//! The log book as its readers see it.

use std::time::Duration;

use super::{LAST_WORDS, LogBook, MAX_LINE, RING_BYTES, RING_LINES};

fn book(secrets: &[&str]) -> (LogBook, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let secrets = secrets.iter().map(|s| (*s).to_owned()).collect();
    (LogBook::new(dir.path().to_owned(), "p", secrets), dir)
}

#[test]
fn the_ring_is_bounded_by_lines_and_by_bytes() {
    let (book, _dir) = book(&[]);
    for n in 0..RING_LINES + 5 {
        book.append(0, 1, "stderr", &n.to_string());
    }
    let lines = book.tail(usize::MAX);
    assert_eq!((lines.len(), lines[0].seq), (RING_LINES, 6));
    for _ in 0..100 {
        book.append(0, 1, "stderr", &"x".repeat(MAX_LINE));
    }
    let bytes: usize = book.tail(usize::MAX).iter().map(|line| line.text.len()).sum();
    assert!(bytes <= RING_BYTES, "{bytes}");
}

#[test]
fn tail_of_tells_launches_apart() {
    let (book, _dir) = book(&[]);
    for (instance, generation) in [(0, 1), (1, 1), (0, 2), (0, 1)] {
        book.append(instance, generation, "stderr", &format!("{instance}.{generation}"));
    }
    let tail: Vec<_> = book.tail_of(0, 1, 5).into_iter().map(|line| line.seq).collect();
    assert_eq!(tail, [1, 4]);
}

#[test]
fn ring_feed_and_file_hold_the_same_line_without_secrets() {
    let (book, dir) = book(&["very-secret"]);
    let mut feed = book.subscribe();
    book.append(0, 3, "stderr", "a very-secret b");
    book.learn_secrets(["another-one".to_owned()]);
    book.append(0, 3, "stderr", "another-one and very-secret");
    assert!(book.flush(Duration::from_secs(10)));
    let file = std::fs::read_to_string(dir.path().join("p.log")).unwrap();
    assert!(file.contains(" 0.3 stderr a *** b\n") && file.contains(" 0.3 stderr *** and ***\n"), "{file}");
    assert_eq!(feed.try_recv().unwrap().text, "a *** b");
    assert_eq!(book.tail(1)[0].text, "*** and ***");
}

#[test]
fn no_part_of_a_secret_stays_at_the_cut() {
    let secret = "0123456789abcdef";
    let (book, _dir) = book(&[secret]);
    for before in MAX_LINE - 20..MAX_LINE + 20 {
        for after in [0, 1000] {
            book.append(0, 1, "stderr", &format!("{}{secret}{}", "x".repeat(before), "y".repeat(after)));
            let text = &book.tail(1)[0].text;
            assert!(!text.contains("012"), "{before} {after}");
            assert!(text.len() <= MAX_LINE + 20);
        }
    }
}

#[test]
fn the_last_words_of_a_launch_outlive_the_flood_of_another() {
    let (book, _dir) = book(&[]);
    book.append(0, 1, "stderr", "an older launch");
    for n in 0..LAST_WORDS + 5 {
        book.append(0, 2, "stderr", &n.to_string());
        book.append(0, 2, "state", "ready -> backoff");
    }
    for _ in 0..2 * RING_LINES {
        book.append(1, 1, "stderr", "chatter");
    }
    let words = |n| book.tail_of(0, 2, n).into_iter().map(|line| line.text).collect::<Vec<_>>();
    let last: Vec<String> = (5..LAST_WORDS + 5).map(|n| n.to_string()).collect();
    assert_eq!(words(LAST_WORDS), last);
    assert_eq!(words(3), last[LAST_WORDS - 3..]);
    assert!(book.tail_of(0, 1, 5).is_empty(), "only the newest launch is kept");
    assert_eq!(book.tail(usize::MAX).len(), RING_LINES, "they are no part of the ring");
}
