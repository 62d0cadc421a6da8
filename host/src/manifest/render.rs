//! Problems as a terminal shows them: rustc's style, with the line and a caret.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::problem::{Problem, Severity};

/// All problems, one block each. `color` is whether escape codes may be used (`NO_COLOR`, no terminal: they may not).
#[must_use]
pub fn render(problems: &[Problem], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for problem in problems {
        out.push_str(&renderer.render(&[group(problem)]));
        out.push_str("\n\n");
    }
    out
}

fn group(problem: &Problem) -> Group<'_> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(problem.message.as_str());
    let group = match &problem.place {
        Some(place) => title.element(
            Snippet::source(place.source().text.as_str())
                .path(problem.path.display().to_string())
                .annotation(AnnotationKind::Primary.span(place.range())),
        ),
        None => title.element(Origin::path(problem.path.display().to_string())),
    };
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}
