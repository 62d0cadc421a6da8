//! The keys that say which instance takes a call, what a failed attempt leads to, and how a new version takes over.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::sections::Dialect;
use super::units::Span;

/// Which instance of several takes the next call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The one with the fewest calls in flight.
    #[default]
    LeastInflight,
    /// Each in turn.
    RoundRobin,
    /// The same one for the same session, or for the same principal where there is no session, as long as it serves.
    Sticky,
}

/// One of several remote endpoints.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetFile {
    /// Where it is.
    pub url: String,
    /// How it speaks MCP; default: that of the plugin, else it is detected.
    #[serde(default)]
    pub dialect: Option<Dialect>,
    /// Lower ones are preferred: a target takes calls only while none of a lower number can.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: u32,
    /// Its share among those of the same priority.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

/// `[retry]`: further attempts of a call. One of which no byte reached the plugin is always safe to try again; one that was
/// handed over is tried again only with `retry.trust_hints`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts after the first.
    #[schemars(range(min = 0, max = 10))]
    pub max: u32,
    /// The first delay.
    pub initial: Span,
    /// Each further delay is this many times the last.
    #[schemars(range(min = 1.0, max = 10.0))]
    pub factor: f64,
    /// The longest delay.
    pub max_delay: Span,
    /// 0: the delay as computed; 1: a random part of it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: f64,
    /// Retries per call, on average over the plugin's recent calls; three a second are always allowed.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub budget: f64,
    /// Believes the plugin's own hints: a call of a tool that it listed with `readOnlyHint` or `idempotentHint` is tried again
    /// even though it was handed over and its answer is lost. Hints that contradict each other are not believed.
    pub trust_hints: bool,
}

/// `[breaker]`: when an instance that keeps failing is left alone. Counted are broken connections, timeouts and malformed
/// answers, never what a tool itself answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// So many failures in a row open it.
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive: u32,
    /// This share of failures opens it.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub ratio: f64,
    /// `breaker.ratio` holds from so many calls on.
    #[schemars(range(min = 1, max = 10000))]
    pub calls: u32,
    /// Of the calls of the last so long.
    pub window: Span,
    /// How long it stays open at first; each time in a row twice as long.
    pub open: Span,
    /// The longest that it stays open.
    pub max_open: Span,
    /// Calls that are let through at a time to see whether it works again.
    #[schemars(range(min = 1, max = 100))]
    pub half_open: u32,
}

/// Whether a changed plugin runs beside the old one while it proves itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// New instances start beside the running ones, which end when the new ones have proven themselves. With a fixed `port`
    /// it is `in_place`.
    #[default]
    Beside,
    /// Each instance ends its calls, stops, and starts anew: for what cannot run twice at a time.
    InPlace,
}

/// What a new version may list beside the old one's lists, to take over by itself. What it may not is rolled back, and
/// `wharf restart` takes it all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lists {
    /// Anything but nothing: one that offers no tool, prompt or resource any more, where the old one did, is not taken.
    #[default]
    Any,
    /// More: everything that the old one listed is there, with the same definition.
    More,
    /// The same.
    Same,
}

/// `[upgrade]`: what happens when the manifest or the program of a running plugin changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upgrade {
    /// Beside the running instances, or in their place.
    pub way: Way,
    /// How long the old instances stay warm after the switch. If the new ones fail within it, the old ones take over again.
    pub trial: Span,
    /// What the new version may list, compared with the old one, to take over.
    pub lists: Lists,
}

/// So many per second, minute or hour: `"10/s"`, `"600/m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub calls: u32,
    /// In how long.
    pub per: Duration,
}

const RATE_PATTERN: &str = "^[1-9][0-9]{0,6}/(s|m|h)$";

fn one() -> u32 {
    1
}

// === defaults: the values of surface.md ===

impl Default for Retry {
    fn default() -> Self {
        Self {
            max: 2,
            initial: Span::millis(50),
            factor: 2.0,
            max_delay: Span::secs(1),
            jitter: 1.0,
            budget: 0.2,
            trust_hints: false,
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            consecutive: 5,
            ratio: 0.5,
            calls: 20,
            window: Span::secs(10),
            open: Span::secs(1),
            max_open: Span::secs(60),
            half_open: 1,
        }
    }
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { way: Way::default(), trial: Span::secs(60), lists: Lists::default() }
    }
}

// === impl Rate ===

impl Rate {
    /// Reads `"10/s"`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (calls, per) = text.split_once('/')?;
        let digits = !calls.is_empty() && calls.len() <= 7 && calls.bytes().all(|b| b.is_ascii_digit());
        let calls = calls.parse().ok().filter(|calls| digits && *calls > 0)?;
        let per = Duration::from_secs(match per {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        });
        Some(Self { calls, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per.as_secs() {
            3600 => "h",
            60 => "m",
            _ => "s",
        };
        write!(f, "{}/{per}", self.calls)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a rate is a whole number, / and s, m or h"))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": RATE_PATTERN, "description": "A whole number, a slash, and s, m or h."})
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_rate_is_read_and_written() {
        for text in ["1/s", "600/m", "9999999/h"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "1", "/s", "0/s", "1/d", "-1/s", "+1/s", "1/s ", "10000000/s", "1.5/s"] {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
    }
}
