//! What apt and dnf print, from the real ones where they are installed.

use super::*;
use crate::tests::{LONG, check, create, sample};
use healthd_plugin::Options as _;
use healthd_plugin::serde_json::json;
use healthd_testing::{Folder, program};
use std::process::Command;

fn updates(files: &[(&str, &str)], options: &str) -> (Folder, Updates) {
    let (folder, kernel) = sample(files);
    let options = Options::parse(options.as_bytes()).expect("good options");
    (folder, Updates { options, kernel })
}

#[test]
fn lines_of_apt() {
    let waiting = apt::read(
        "Inst bash [5.2.15-2+b8] (5.2.15-2+b13 Debian:12.15/oldstable [amd64])\n\
         Conf bash (5.2.15-2+b13 Debian:12.15/oldstable [amd64])\n\
         Inst libgcrypt20 [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64]) []\n\
         Inst curl [7.81.0-1] (7.81.0-1ubuntu1.16 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [amd64])\n\
         Inst linux-image-6.1.0-99 (6.1.0-99 Debian-Security:12/stable-security [amd64])\n\
         Remv old [1.0]\n\
         Inst\n",
    );
    assert_eq!(waiting.all, ["bash", "libgcrypt20", "curl"]);
    assert_eq!(waiting.security, ["libgcrypt20", "curl"]);
}

#[test]
fn lines_of_dnf() {
    let text = "\n\
        bash.x86_64                      5.2.26-1.fc40            updates\n\
        NetworkManager-libnm.x86_64      1:1.46.0-2.fc40          updates\n\
        half.x86_64 \n                   1.0                      updates\n\
        Obsoleting Packages\n\
        new.noarch                       2-1                      updates\n";
    assert_eq!(dnf::read(text), ["bash", "NetworkManager-libnm"]);
}

#[test]
fn what_is_excluded_and_which_manager() {
    let apt = [("usr/bin/apt-get", ""), ("var/lib/dpkg/status", "")];
    let (_folder, kind) = updates(&apt, r#"{"exclude": ["linux-*", "bash"]}"#);
    assert_eq!(kind.manager(), Some(Manager::Apt));
    let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    let left = kind.without_excluded(Waiting {
        all: names(&["bash", "linux-image-amd64", "curl"]),
        security: names(&["linux-image-amd64"]),
    });
    assert_eq!((left.all, left.security), (names(&["curl"]), names(&[])));
    let (_folder, kind) = updates(&[("usr/bin/dnf", "")], "{}");
    assert_eq!(kind.manager(), Some(Manager::Dnf));
    let (_folder, kind) = updates(&[], "{}");
    assert_eq!(kind.manager(), None);
    assert_eq!(apt::lists_changed(&kind.kernel), None);
    let names = names(&["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(shown(&names), " (a, b, c, d, e and 2 more)");
}

/// Debian's apt, on this machine as it is.
#[test]
fn apt_of_this_machine() {
    if program("apt-get", "apt").is_none() {
        return;
    }
    let quiet = json!({
        "manager": "apt", "security_crit": 100_000, "lists_age_warn": "10000d", "reboot": "ok",
    });
    let o = check("updates", quiet);
    let fresh = std::path::Path::new("/var/lib/apt/lists/partial").exists();
    let wanted = if fresh { Status::Ok } else { Status::Unknown };
    assert_eq!(o.status, wanted, "{o:?}");
    assert!(o.metric("updates").value >= o.metric("security").value);
    let old = json!({
        "manager": "apt", "security_crit": 100_000, "lists_age_warn": "1ms", "lists_age_crit": "1ms",
    });
    if fresh {
        let o = check("updates", old);
        assert_eq!(o.status, Status::Critical, "{o:?}");
        assert!(o.message.contains("the lists of packages are "), "{o:?}");
    }
}

/// A package of which there is a newer one that mends a hole, by the real dnf, rpm and createrepo_c.
#[test]
fn dnf_and_a_repository_of_ours() {
    let programs = [
        program("dnf", "dnf"),
        program("rpmbuild", "rpm"),
        program("createrepo_c", "createrepo-c"),
        program("modifyrepo_c", "createrepo-c"),
    ];
    if programs.iter().any(Option::is_none) {
        return;
    }
    let folder = Folder::new();
    let at = folder.path().display().to_string();
    folder.write(
        "demo.spec",
        "Name: demo\nVersion: %{v}\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n%description\nx\n%files\n",
    );
    let sh = |script: &str| {
        healthd_testing::run(
            Command::new("sh")
                .args(["-ec", script])
                .current_dir(folder.path()),
        );
    };
    sh("for v in 1 2; do rpmbuild -bb --define \"v $v\" --define \"_topdir $PWD/b\" demo.spec; done >/dev/null 2>&1
        mkdir repo root none; cp b/RPMS/noarch/demo-2-1.noarch.rpm repo/; createrepo_c -q repo
        rpm --root \"$PWD/root\" --initdb; rpm --root \"$PWD/root\" -i b/RPMS/noarch/demo-1-1.noarch.rpm 2>/dev/null");
    folder.write(
        "dnf.conf",
        format!(
            "[main]\ncachedir={at}/cache\n[demo]\nname=demo\nbaseurl=file://{at}/repo\ngpgcheck=0\n"
        ),
    );
    let dnf = |words: &[&str]| {
        let done = Command::new("dnf")
            .args(["-c", &format!("{at}/dnf.conf"), "--releasever=1"])
            .args([
                format!("--installroot={at}/root"),
                format!("--setopt=reposdir={at}/none"),
                format!("--setopt=cachedir={at}/cache"),
            ])
            .args(words)
            .env("LC_ALL", "C")
            .output()
            .expect("it is installed");
        let code = done.status.code();
        (code, String::from_utf8_lossy(&done.stdout).into_owned())
    };
    assert_eq!(dnf(&["-q", "makecache"]).0, Some(0));
    let (code, out) = dnf(&["-q", "-C", "check-update"]);
    assert_eq!(
        (code, dnf::read(&out)),
        (Some(100), vec!["demo".to_owned()])
    );
    let (code, out) = dnf(&["-q", "-C", "--security", "check-update"]);
    assert_eq!((code, dnf::read(&out)), (Some(0), Vec::new()));
    folder.write(
        "updateinfo.xml",
        "<?xml version=\"1.0\"?><updates><update from=\"x\" status=\"final\" type=\"security\" version=\"1\"><id>ADV-1</id>\
         <title>t</title><issued date=\"2026-01-01\"/><severity>Important</severity><description>d</description><pkglist>\
         <collection short=\"d\"><name>d</name><package name=\"demo\" version=\"2\" release=\"1\" epoch=\"0\" arch=\"noarch\" \
         src=\"demo-2-1.src.rpm\"><filename>demo-2-1.noarch.rpm</filename></package></collection></pkglist></update></updates>",
    );
    sh("modifyrepo_c --mdtype=updateinfo updateinfo.xml repo/repodata >/dev/null 2>&1");
    assert_eq!(dnf(&["-q", "--refresh", "makecache"]).0, Some(0));
    let (code, out) = dnf(&["-q", "-C", "--security", "check-update"]);
    assert_eq!(
        (code, dnf::read(&out)),
        (Some(100), vec!["demo".to_owned()])
    );
}

#[test]
fn a_manager_that_fails() {
    // apt is here, dnf is not set up: it has no cache.
    if program("dnf", "dnf").is_some() {
        let o = create("updates", &json!({"manager": "dnf"})).expect("good options");
        let o = o.run(LONG);
        assert!(matches!(o.status, Status::Unknown | Status::Ok), "{o:?}");
    } else {
        let o = check("updates", json!({"manager": "dnf"}));
        assert_eq!(o.status, Status::Unknown, "{o:?}");
        assert!(o.message.starts_with("dnf: "), "{o:?}");
    }
}
