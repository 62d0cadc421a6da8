//! Where the hierarchies are mounted and which group of each is ours, from what `/proc` says. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Version;

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) version: Version,
    /// What it controls, in version 1.
    pub(super) controllers: Vec<String>,
    /// The folder of the group that we are in.
    pub(super) own: PathBuf,
}

/// The hierarchies, from `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(super) fn mounts(mountinfo: &str, membership: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(|line| mount(line, membership)).collect()
}

/// A line: `31 23 0:28 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids`.
fn mount(line: &str, membership: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3).map(plain);
    let (root, at) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup2" => Version::V2,
        "cgroup" => Version::V1,
        _ => return None,
    };
    let options = kind.nth(1).unwrap_or_default();
    let controllers: Vec<String> = match version {
        Version::V1 => options.split(',').map(str::to_owned).collect(),
        Version::V2 => Vec::new(),
    };
    let path = ours(membership, &controllers)?;
    // What is mounted may be a part of the hierarchy only, and in a container we may be told a path outside of it.
    let below = path.strip_prefix(&root).ok().filter(|below| !below.starts_with(".."));
    let own = below.map_or_else(|| at.clone(), |below| at.join(below));
    Some(Mount { version, controllers, own })
}

/// Our group in the hierarchy with these controllers; with none, in that of version 2. A line: `4:memory:/a/b`.
fn ours(membership: &str, controllers: &[String]) -> Option<PathBuf> {
    membership.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (listed, path) = (parts.next()?, parts.next()?);
        let is_it = if controllers.is_empty() {
            listed.is_empty()
        } else {
            listed.split(',').any(|one| controllers.iter().any(|other| other == one))
        };
        // The path is relative to the root of the hierarchy.
        is_it.then(|| Path::new(path).to_owned())
    })
}

/// A path in mountinfo writes spaces and the like as octal numbers.
fn plain(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let number = after.get(..3).filter(|_| *first == b'\\');
        let number = number.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(number.unwrap_or(*first));
        rest = if number.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Mount, mounts};
    use crate::process::cgroup::Version;

    #[test]
    fn both_versions_beside_each_other() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
            36 31 0:33 /in /sys/fs/cg\\040roup/cpu rw master:1 - cgroup cgroup rw,cpu,cpuacct\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let membership = "4:memory:/one/two\n1:cpu,cpuacct:/in/deep\n0::/three\n";
        let one = |version, controllers: &[&str], own: &str| Mount {
            version,
            controllers: controllers.iter().map(|one| (*one).to_owned()).collect(),
            own: PathBuf::from(own),
        };
        let expected = [
            one(Version::V1, &["rw", "memory"], "/sys/fs/cgroup/memory/one/two"),
            one(Version::V1, &["rw", "cpu", "cpuacct"], "/sys/fs/cg roup/cpu/deep"),
            one(Version::V2, &[], "/sys/fs/cgroup/unified/three"),
        ];
        assert_eq!(mounts(mountinfo, membership), expected);
    }

    #[test]
    fn a_group_outside_of_what_is_mounted_counts_as_its_root() {
        let mountinfo = "41 31 0:38 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        for membership in ["0::/b/c\n", "0::/../b\n"] {
            let found = mounts(mountinfo, membership);
            assert_eq!(found.first().map(|one| one.own.clone()), Some(PathBuf::from("/sys/fs/cgroup")));
        }
        assert_eq!(mounts(mountinfo, "4:memory:/\n"), [], "without a group there is nothing to make one in");
        assert_eq!(mounts("torn", "0::/"), []);
    }
}
