//! Where a path leads, and by which links: a link that the plugin could have made itself must not choose what it reaches.
//!
//! What comes out of here holds no link, and the shim opens it without following any: whoever changes something in between
//! takes a rule away, and adds none.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

/// Links that are followed on the way to one file. The kernel follows 40.
const LINKS: usize = 40;

/// A path without links.
#[derive(Debug)]
pub(super) struct Walked {
    /// Where it leads.
    pub(super) real: PathBuf,
    /// The places of the links that lead there, each in its real folder.
    pub(super) links: Vec<PathBuf>,
}

enum Step {
    Root,
    Up,
    Into(OsString),
}

/// Follows an absolute path.
///
/// # Errors
/// If there is nothing, or too many links.
pub(super) fn walk(path: &Path) -> io::Result<Walked> {
    let mut walked = Walked { real: PathBuf::from("/"), links: Vec::new() };
    let mut next: VecDeque<Step> = steps(path).collect();
    while let Some(step) = next.pop_front() {
        match step {
            Step::Root => walked.real = PathBuf::from("/"),
            Step::Up => drop(walked.real.pop()),
            Step::Into(name) => {
                let place = walked.real.join(name);
                if !fs::symlink_metadata(&place)?.is_symlink() {
                    walked.real = place;
                    continue;
                }
                let target = fs::read_link(&place)?;
                walked.links.push(place);
                if walked.links.len() > LINKS {
                    return Err(io::Error::other("its links lead in a circle"));
                }
                for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                    next.push_front(step);
                }
            }
        }
    }
    Ok(walked)
}

fn steps(path: &Path) -> impl Iterator<Item = Step> + '_ {
    path.components().filter_map(|part| match part {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Into(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

/// What the plugin may change: files and folders, without links in their paths.
#[derive(Debug, Default)]
pub(super) struct Writable(pub(super) Vec<PathBuf>);

impl Writable {
    /// Whether the plugin decides what lies here.
    pub(super) fn holds(&self, real: &Path) -> bool {
        self.0.iter().any(|root| real.starts_with(root))
    }

    /// A link on the way that the plugin may have made.
    pub(super) fn planted<'a>(&self, walked: &'a Walked) -> Option<&'a Path> {
        walked.links.iter().find(|link| self.holds(link)).map(PathBuf::as_path)
    }

    /// Where a path leads, if nothing that the plugin may have made leads there.
    pub(super) fn trusted(&self, path: &Path) -> Option<PathBuf> {
        walk(path).ok().filter(|walked| self.planted(walked).is_none()).map(|walked| walked.real)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{Writable, walk};

    #[test]
    fn a_path_leads_where_the_system_says_and_each_link_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        symlink("../a/b", at("a/link")).unwrap();
        symlink(at("a/link/c/.."), at("far")).unwrap();
        symlink("circle", at("circle")).unwrap();
        for path in ["a/b", "a/link/c", "far/c", "far/../b/./c", "a/link/../link"] {
            assert_eq!(walk(&at(path)).unwrap().real, at(path).canonicalize().unwrap(), "{path}");
        }
        assert_eq!(walk(&at("far/c")).unwrap().links, [at("far"), at("a/link")]);
        for path in ["gone", "circle", "far/gone"] {
            assert!(walk(&at(path)).is_err(), "{path}");
        }
        let far = walk(&at("far")).unwrap();
        for (root, planted) in [("a", Some(at("a/link"))), ("a/b", None), ("", Some(at("far")))] {
            assert_eq!(
                Writable(vec![at(root).components().collect()]).planted(&far),
                planted.as_deref(),
                "{root}"
            );
        }
    }
}
