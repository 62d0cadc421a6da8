//! Aligned columns, and times as people read them.

use std::time::{Duration, SystemTime};

/// Rows under a head, aligned; the last column is as long as it is.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head: Vec<String> = head.iter().map(|title| (*title).to_owned()).collect();
    std::iter::once(&head).chain(rows).map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, width) in row.iter().zip(widths) {
        out.push_str(&format!("{cell:<width$}  "));
    }
    let end = out.trim_end().len();
    out.truncate(end);
    out.push('\n');
    out
}

/// How long ago a time of the API was, in one unit: `12s`, `3m`, `5h`, `8d`.
pub(super) fn age(at: &str, now: SystemTime) -> String {
    let Ok(at) = humantime::parse_rfc3339_weak(at) else { return at.to_owned() };
    span(now.duration_since(at).unwrap_or(Duration::ZERO))
}

/// A time in one unit, as [`age`] tells it.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{age, table};

    #[test]
    fn columns_are_aligned_and_lines_end_clean() {
        let rows = [
            vec!["ä".to_owned(), "ready".to_owned(), String::new()],
            vec!["longer".into(), "x".into(), "why so".into()],
        ];
        assert_eq!(
            table(&["P", "STATE", "CAUSE"], &rows),
            "P       STATE  CAUSE\nä       ready\nlonger  x      why so\n"
        );
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200_000, "2d")] {
            assert_eq!(age("1970-01-01T00:00:00.000Z", UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(age("2970-01-01T00:00:00Z", UNIX_EPOCH), "0s");
        assert_eq!(age("soon", UNIX_EPOCH), "soon");
    }
}
