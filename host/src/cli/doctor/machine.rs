//! The machine and the folders: what holds plugins together, the manifests, their programs and ports, the state folder.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use wharf_core::manifest::{Command, Kind, Late, Manifest, PortChoice};

use super::report::Report;
use super::{Args, FOLDER, Info};
use crate::manifest::{self, Context, Problem};
use crate::process::{Machine, find};
use crate::serve::token;
use crate::tasks::Tasks;

pub(super) async fn examine(args: &Args, state: &Path, info: Option<&Info>, report: &mut Report) {
    match info {
        Some(info) => machine(&info.machine.containment, &info.machine.lacks, report),
        None => {
            let machine = Machine::find_out(None, None, &Tasks::default()).await;
            let view = machine.view();
            machine.close();
            self::machine(view.containment, &view.lacks, report);
        }
    }
    state_folder(state, report);
    if info.is_none() {
        free("listen", &args.listen.to_string(), args.listen, report);
    }
    match folder(args.plugins.as_deref(), info) {
        Some(folder) => manifests(folder, state, info.is_some(), report),
        None => report.skipped("manifests", "-", "the host has no folder of manifests; --plugins names one"),
    }
}

/// The folder to look at: the named one, else that of the running host, which may have none.
fn folder<'a>(named: Option<&'a Path>, info: Option<&'a Info>) -> Option<&'a Path> {
    let of_host = || info.map_or(Some(Path::new(FOLDER)), |info| info.plugins_dir.as_deref());
    named.or_else(of_host)
}

fn machine(containment: &str, lacks: &[String], report: &mut Report) {
    let detail = format!("process trees are held by {containment}");
    if matches!(containment, "subreaper" | "process_group") {
        report.warning("containment", "-", detail);
        report.remedy(Some("allow user namespaces or give the host a control group of its own"));
    } else {
        report.ok("containment", "-", detail);
    }
    for lack in lacks {
        report.warning("machine", "-", format!("not here: {lack}"));
    }
}

fn state_folder(state: &Path, report: &mut Report) {
    let shown = state.display().to_string();
    // Where the folder is to be made: the nearest that is there.
    let there = state.ancestors().find(|folder| folder.symlink_metadata().is_ok()).unwrap_or(state);
    match access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) if !there.is_dir() => {
            report.failed("state", &shown, format!("{} is no folder", there.display()));
        }
        Ok(()) if there == state => report.ok("state", &shown, "can be written"),
        Ok(()) => report.ok("state", &shown, "is not there yet; the first start makes it"),
        Err(error) => {
            report.failed("state", &shown, format!("{} cannot be written: {error}", there.display()));
            report.remedy(Some("name another one with --state, or give it to this user"));
        }
    }
    let path = state.join("token");
    let shown = path.display().to_string();
    if path.symlink_metadata().is_err() {
        report.skipped("token", &shown, "is not there yet; the first start makes it");
        return;
    }
    match token::read(&path) {
        Ok(_) => report.ok("token", &shown, "holds a token that its owner alone can read"),
        Err(error) => report.failed("token", &shown, error.to_string()),
    }
}

fn manifests(folder: &Path, state: &Path, running: bool, report: &mut Report) {
    let context = match Context::of_process(state) {
        Ok(context) => context,
        Err(error) => return report.failed("manifests", "-", error.to_string()),
    };
    let reading = manifest::load_dir(folder, &context);
    let shown = folder.display().to_string();
    for problem in &reading.loose {
        told(&shown, problem, report);
    }
    if reading.unreadable {
        return;
    }
    if reading.manifests.is_empty() && reading.invalid.is_empty() {
        report.warning("manifests", &shown, "holds no manifest");
    }
    for (id, invalid) in &reading.invalid {
        invalid.problems.iter().for_each(|problem| told(id.as_str(), problem, report));
    }
    for (id, manifest) in &reading.manifests {
        match reading.warnings.get(id) {
            Some(problems) => problems.iter().for_each(|problem| told(id.as_str(), problem, report)),
            None => report.ok("manifest", id.as_str(), manifest.path.display().to_string()),
        }
        if let (Kind::Command(command), true) = (&manifest.kind, manifest.enabled) {
            program(manifest, command, report);
            if let (Some(PortChoice::Fixed(port)), false) = (command.port, running) {
                free("port", id.as_str(), (Ipv4Addr::LOCALHOST, port).into(), report);
            }
        }
    }
}

fn told(subject: &str, problem: &Problem, report: &mut Report) {
    if problem.is_error() {
        report.failed("manifest", subject, problem.to_string());
    } else {
        report.warning("manifest", subject, problem.to_string());
    }
    report.remedy(problem.help.as_deref());
}

fn program(manifest: &Manifest, command: &Command, report: &mut Report) {
    let words = |text: &wharf_core::manifest::Template| text.render(Late::default());
    let own = command.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| words(value));
    let base = || crate::process::env::base(|name| std::env::var(name).ok());
    let path = own.or_else(|| base().into_iter().find(|(name, _)| name == "PATH").map(|(_, value)| value));
    let name = command.argv.first().map(words).unwrap_or_default();
    match find::program(&name, &command.cwd, &path.unwrap_or_default()) {
        Ok(found) => report.ok("program", manifest.id.as_str(), found.display().to_string()),
        Err(cause) => {
            report.failed("program", manifest.id.as_str(), cause.detail.clone());
            report.remedy(Some(cause.kind.remedy()));
        }
    }
    if let Some(library) = command.library.as_ref().filter(|library| !library.is_file()) {
        report.failed("program", manifest.id.as_str(), format!("there is no file {}", library.display()));
    }
}

fn free(check: &'static str, subject: &str, address: SocketAddr, report: &mut Report) {
    match TcpListener::bind(address) {
        Ok(_) => report.ok(check, subject, format!("{address} is free")),
        Err(error) => report.failed(check, subject, format!("{address} cannot be listened on: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::super::Info;
    use super::super::report::{Grade, Report};
    use super::{folder, free, machine, manifests, state_folder};

    #[test]
    fn a_host_without_a_folder_has_none_to_look_at() {
        let info = |plugins: Value| -> Info {
            let machine = json!({"containment": "subreaper", "lacks": []});
            let journal = json!({"state": "off", "detail": null});
            let info =
                json!({"version": "1", "plugins_dir": plugins, "machine": machine, "journal": journal});
            serde_json::from_value(info).unwrap()
        };
        let (with, without) = (info("/p".into()), info(Value::Null));
        let named = Path::new("/named");
        assert_eq!(folder(None, Some(&without)), None, "not that of the working directory");
        assert_eq!(folder(Some(named), Some(&without)), Some(named));
        assert_eq!(folder(None, Some(&with)), Some(Path::new("/p")));
        assert_eq!(folder(None, None), Some(Path::new("plugins")));
    }

    #[test]
    fn a_token_that_others_can_read_and_a_state_that_is_no_folder_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let grades = |state: &Path| {
            let mut report = Report::default();
            state_folder(state, &mut report);
            report.all().into_iter().map(|(check, _, grade)| (check, grade)).collect::<Vec<_>>()
        };
        assert_eq!(grades(&dir.path().join("new/one")), [("state", Grade::Ok), ("token", Grade::Skipped)]);
        let token = dir.path().join("token");
        std::fs::write(&token, "x".repeat(64)).unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(grades(dir.path()), [("state", Grade::Ok), ("token", Grade::Ok)]);
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(grades(dir.path()), [("state", Grade::Ok), ("token", Grade::Failed)]);
        assert_eq!(grades(&token.join("below"))[0], ("state", Grade::Failed));
    }

    #[test]
    fn manifests_programs_and_ports_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.toml", "command = 'no-such-program-anywhere'\n");
        write("b.toml", "comand = 'sh'\n");
        write("c.toml", &format!("command = 'sh'\nport = {port}\nurl = 'http://127.0.0.1:${{port}}/mcp'\n"));
        write("d.toml", "command = 'no-such-program-anywhere'\nenabled = false\n");
        let mut report = Report::default();
        manifests(dir.path(), dir.path(), false, &mut report);
        let told = report.all();
        for (check, subject, grade) in [
            ("program", "a", Grade::Failed),
            ("manifest", "b", Grade::Failed),
            ("program", "c", Grade::Ok),
            ("port", "c", Grade::Failed),
            ("manifest", "d", Grade::Ok),
        ] {
            assert!(told.contains(&(check, subject, grade)), "{check} {subject}: {told:?}");
        }
        assert!(!told.iter().any(|(check, subject, _)| (*check, *subject) == ("program", "d")), "it is off");
        let mut report = Report::default();
        manifests(&dir.path().join("none"), dir.path(), false, &mut report);
        assert!(!report.is_good());
    }

    #[test]
    fn an_address_that_is_taken_fails_and_weak_containment_warns() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut report = Report::default();
        free("listen", "-", taken.local_addr().unwrap(), &mut report);
        machine("subreaper", &["Landlock: refused".to_owned()], &mut report);
        machine("pid_namespace", &[], &mut report);
        let grades: Vec<Grade> = report.all().into_iter().map(|(_, _, grade)| grade).collect();
        assert_eq!(grades, [Grade::Failed, Grade::Warning, Grade::Warning, Grade::Ok]);
    }
}
