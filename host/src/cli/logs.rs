//! `wharf logs [P..] [-f]`: what plugins log, of several in one stream.

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};
use reqwest::Url;
use serde::Deserialize;

use super::client::Client;
use super::exit::{Complaint, Exit};
use super::out;

/// A line that is longer is cut into pieces.
const LONGEST: usize = 1024 * 1024;
/// Colours of the names, one after the other.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The plugins; without any, all of them
    plugins: Vec<String>,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// How many lines of each to begin with
    #[arg(long, value_name = "N", default_value_t = 100)]
    tail: usize,
    /// Only lines since then: a time, or a duration like 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Deserialize)]
struct Plugins {
    plugins: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

pub(super) async fn run(args: &Args, host: &Client) -> Result<(), Complaint> {
    let plugins = if args.plugins.is_empty() {
        let all: Plugins = host.get(host.path(&["api", "v1", "plugins"])).await?;
        all.plugins.into_iter().map(|plugin| plugin.id).collect()
    } else {
        args.plugins.clone()
    };
    let prefixes = prefixes(&plugins, out::colours());
    if args.follow {
        follow(args, host, &plugins, &prefixes).await
    } else {
        read(args, host, &plugins, &prefixes).await
    }
}

async fn read(args: &Args, host: &Client, plugins: &[String], prefixes: &[String]) -> Result<(), Complaint> {
    let mut lines = Vec::new();
    for (plugin, prefix) in plugins.iter().zip(prefixes) {
        let body = host.get_bytes(url(args, host, plugin)).await?;
        lines.extend(
            out::harmless(&String::from_utf8_lossy(&body)).lines().map(|line| (prefix, line.to_owned())),
        );
    }
    // Each line begins with its time, so the order of texts is the order of time; lines of one plugin keep theirs.
    lines.sort_by(|(_, one), (_, other)| time(one).cmp(time(other)));
    out::data(&lines.iter().map(|(prefix, line)| format!("{prefix}{line}\n")).collect::<String>())
}

fn time(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

async fn follow(
    args: &Args,
    host: &Client,
    plugins: &[String],
    prefixes: &[String],
) -> Result<(), Complaint> {
    let mut all: SelectAll<BoxStream<'_, (usize, reqwest::Result<bytes::Bytes>)>> = SelectAll::new();
    for (n, plugin) in plugins.iter().enumerate() {
        let response = host.stream(url(args, host, plugin)).await?;
        all.push(response.bytes_stream().map(move |chunk| (n, chunk)).boxed());
    }
    let mut partial = vec![Vec::new(); plugins.len()];
    while let Some((n, chunk)) = all.next().await {
        let chunk = chunk.map_err(|error| host.unanswered(&error))?;
        let (Some(partial), Some(prefix)) = (partial.get_mut(n), prefixes.get(n)) else { continue };
        let lines = whole_lines(partial, &chunk);
        out::data(&lines.iter().map(|line| format!("{prefix}{line}\n")).collect::<String>())?;
    }
    Err(Complaint::new(Exit::Failure, "the host ended the log")
        .remedy("look whether it still runs: `wharf ps`"))
}

fn url(args: &Args, host: &Client, plugin: &str) -> Url {
    let mut url = host.path(&["api", "v1", "plugins", plugin, "logs"]);
    url.query_pairs_mut().append_pair("tail", &args.tail.to_string());
    if args.follow {
        url.query_pairs_mut().append_pair("follow", "true");
    }
    if let Some(since) = &args.since {
        url.query_pairs_mut().append_pair("since", since);
    }
    url
}

/// The lines that `chunk` completes; the rest waits in `partial`.
fn whole_lines(partial: &mut Vec<u8>, chunk: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for piece in chunk.split_inclusive(|b| *b == b'\n') {
        partial.extend_from_slice(piece);
        if partial.last() == Some(&b'\n') || partial.len() > LONGEST {
            lines.push(out::harmless(String::from_utf8_lossy(partial).trim_end_matches('\n')));
            partial.clear();
        }
    }
    lines
}

/// `name | ` for each of several plugins, aligned; nothing for one alone.
fn prefixes(plugins: &[String], colours: bool) -> Vec<String> {
    if plugins.len() < 2 {
        return vec![String::new(); plugins.len()];
    }
    let width = plugins.iter().map(String::len).max().unwrap_or_default();
    let painted = plugins.iter().zip(COLOURS.iter().cycle()).map(|(name, colour)| {
        if colours {
            format!("\u{1b}[{colour}m{name:<width$} |\u{1b}[0m ")
        } else {
            format!("{name:<width$} | ")
        }
    });
    painted.collect()
}

#[cfg(test)]
mod tests {
    use super::{prefixes, whole_lines};

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut partial = Vec::new();
        assert!(whole_lines(&mut partial, b"on").is_empty());
        assert_eq!(whole_lines(&mut partial, b"e\ntwo\nthr"), ["one", "two"]);
        assert_eq!(whole_lines(&mut partial, b"ee\n\n"), ["three", ""]);
        assert!(partial.is_empty());
    }

    #[test]
    fn several_plugins_are_told_apart() {
        assert_eq!(prefixes(&["a".into()], true), [""]);
        assert_eq!(prefixes(&["a".into(), "long".into()], false), ["a    | ", "long | "]);
    }
}
