//! What was looked at and how it is: a table, or JSON.

use serde::Serialize;

use crate::cli::exit::{Complaint, Exit};
use crate::cli::out;
use crate::cli::table::table;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    /// As it should be.
    Ok,
    /// It works; somebody should know.
    Warning,
    /// It does not work.
    Failed,
    /// It was not tried; the detail says why.
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) subject: String,
    pub(super) result: Grade,
    pub(super) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

/// All that was found, in order.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    checks: &'a [Finding],
}

impl Report {
    pub(super) fn ok(&mut self, check: &'static str, subject: &str, detail: impl Into<String>) {
        self.add(Grade::Ok, check, subject, detail.into());
    }

    pub(super) fn skipped(&mut self, check: &'static str, subject: &str, detail: impl Into<String>) {
        self.add(Grade::Skipped, check, subject, detail.into());
    }

    pub(super) fn warning(&mut self, check: &'static str, subject: &str, detail: impl Into<String>) {
        self.add(Grade::Warning, check, subject, detail.into());
    }

    pub(super) fn failed(&mut self, check: &'static str, subject: &str, detail: impl Into<String>) {
        self.add(Grade::Failed, check, subject, detail.into());
    }

    /// What helps with the last finding.
    pub(super) fn remedy(&mut self, remedy: Option<&str>) {
        if let Some(last) = self.0.last_mut() {
            last.remedy = remedy.map(str::to_owned);
        }
    }

    fn add(&mut self, result: Grade, check: &'static str, subject: &str, detail: String) {
        self.0.push(Finding { check, subject: subject.to_owned(), result, detail, remedy: None });
    }

    /// Whether nothing has failed.
    pub(super) fn is_good(&self) -> bool {
        self.0.iter().all(|finding| finding.result != Grade::Failed)
    }

    pub(super) fn show(&self, json: bool) -> Result<(), Complaint> {
        if json {
            let text = serde_json::to_string(&Document { ok: self.is_good(), checks: &self.0 });
            return out::line(&text.map_err(|error| Complaint::new(Exit::Failure, error.to_string()))?);
        }
        let rows: Vec<Vec<String>> = self.0.iter().map(Finding::row).collect();
        out::data(&out::harmless(&table(&["CHECK", "SUBJECT", "RESULT", "DETAIL"], &rows)))?;
        let count = |grade| self.0.iter().filter(|finding| finding.result == grade).count();
        out::note(&format!(
            "{} checks: {} ok, {} warnings, {} failed, {} skipped",
            self.0.len(),
            count(Grade::Ok),
            count(Grade::Warning),
            count(Grade::Failed),
            count(Grade::Skipped),
        ));
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(&'static str, &str, Grade)> {
        self.0.iter().map(|finding| (finding.check, finding.subject.as_str(), finding.result)).collect()
    }
}

impl Finding {
    fn row(&self) -> Vec<String> {
        let result = match self.result {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Failed => "FAILED",
            Grade::Skipped => "skipped",
        };
        let remedy = self.remedy.as_deref().map(|remedy| format!("; help: {remedy}")).unwrap_or_default();
        // One line for each: a table is read by lines.
        let detail = format!("{}{remedy}", self.detail).replace(['\n', '\r', '\t'], " ");
        vec![self.check.to_owned(), self.subject.clone(), result.to_owned(), detail]
    }
}
