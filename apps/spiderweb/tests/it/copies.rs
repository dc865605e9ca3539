//! cp in all directions, and over a node that goes away.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::setup::{Said, Setup, contents, names, partial, until};

fn same(a: &Path, b: &Path) {
    let diff = Command::new("diff").arg("-r").args([a, b]).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

fn furnish(setup: &Setup) {
    std::fs::create_dir_all(setup.local("tree/deep/empty")).unwrap();
    std::fs::write(setup.local("tree/big"), contents(2_500_000)).unwrap();
    std::fs::write(setup.local("tree/deep/ü nice"), "text").unwrap();
    std::fs::write(setup.local("tree/none"), "").unwrap();
    std::fs::set_permissions(setup.local("tree/big"), std::fs::Permissions::from_mode(0o750)).unwrap();
    for number in 0..50 {
        std::fs::write(setup.local(&format!("tree/deep/{number}")), number.to_string()).unwrap();
    }
    symlink("big", setup.local("tree/link")).unwrap();
}

#[test]
fn trees_travel_there_within_and_back() {
    let setup = Setup::new();
    furnish(&setup);
    let counts = setup.json("cp -r tree :/work/tree");
    assert_eq!(
        (&counts["files"], &counts["directories"]),
        (&54.into(), &3.into()),
        "{counts}"
    );
    same(&setup.local("tree"), &setup.work("tree"));
    assert!(setup.work("tree/link").is_symlink());
    assert_eq!(
        setup.work("tree/big").metadata().unwrap().permissions().mode() & 0o777,
        0o750
    );

    setup.ok("cp -r :/work/tree :/work/again");
    same(&setup.local("tree"), &setup.work("again"));
    setup.ok("cp -r :/work/again back");
    same(&setup.local("tree"), &setup.local("back"));
    assert_eq!(
        setup.local("back/big").metadata().unwrap().permissions().mode() & 0o777,
        0o750
    );

    // A link takes the place of a file, and of no directory.
    std::fs::remove_file(setup.work("tree/link")).unwrap();
    std::fs::write(setup.work("tree/link"), "old").unwrap();
    std::fs::create_dir_all(setup.work("full/tree/link")).unwrap();
    setup.ok("cp -r tree :/work");
    assert!(setup.work("tree/link").is_symlink());
    let said = setup.run("cp -r tree :/work/full");
    assert!(
        said.code == 1 && said.err.contains("cannot make the link /work/full/tree/link"),
        "{said:?}"
    );
    assert!(setup.work("full/tree/link").is_dir() && partial(&setup.work("full/tree")).is_none());

    // Once more over what is there, and into an existing directory under its own name.
    setup.ok("cp -r tree :/work");
    setup.ok("cp -r :/work/tree/ back");
    same(&setup.local("tree"), &setup.local("back/tree"));
}

#[test]
fn files_go_where_they_are_told() {
    let setup = Setup::new();
    std::fs::write(setup.local("a"), "a").unwrap();
    std::fs::write(setup.local("b"), "b").unwrap();
    setup.ok("cp a :/work/x");
    setup.ok("cp a b :/work");
    setup.ok("cp :/work/x y");
    setup.ok("cp :/work/x :/work/a .");
    setup.ok("cp :/work/x :/work/z");
    assert_eq!(names(&setup.work("")), ["a", "b", "x", "z"]);
    assert_eq!(names(&setup.local("")), ["a", "b", "x", "y"]);
    assert_eq!(std::fs::read_to_string(setup.local("y")).unwrap(), "a");
    setup.ok("cp :/work/b /dev/null");
}

#[test]
fn copies_that_make_no_sense_are_refused() {
    let setup = Setup::new();
    std::fs::write(setup.local("a"), "a").unwrap();
    std::fs::create_dir(setup.local("d")).unwrap();
    std::fs::create_dir(setup.work("w")).unwrap();
    std::fs::write(setup.work("f"), "f").unwrap();
    for (line, code, words) in [
        ("cp a b", 2, "mark a path on the node"),
        ("cp d :/work/d", 1, "cp -r"),
        ("cp :/work/w w", 1, "cp -r"),
        ("cp -r :/work/w :/work/w/inner", 1, "into itself"),
        ("cp :/work/f :/work/f", 1, "the same file"),
        ("cp a a :/work/f", 1, "not a directory"),
        ("cp missing :/work/", 1, "cannot read missing: no such file"),
        (
            "cp :/work/missing .",
            1,
            "cannot copy /work/missing: no such file",
        ),
        ("cp a :/ro/", 1, "read-only"),
        ("cp a :/work/no/where", 1, "/work/no: no such file"),
        ("cp a :/nowhere/a", 1, "no export named \"nowhere\""),
        ("cp :/work/f d/no/where", 1, "d/no/where: no such file"),
    ] {
        let said = setup.run(line);
        assert!(said.code == code && said.err.contains(words), "{line}: {said:?}");
        assert_eq!(said.err.matches("error:").count(), 1, "{line}: {said:?}");
    }
    assert_eq!(
        (names(&setup.work("")), names(&setup.local("d"))),
        (vec!["f".into(), "w".into()], vec![])
    );
}

#[test]
fn a_copy_into_the_exported_folder_it_comes_from_ends() {
    let setup = Setup::new();
    std::fs::create_dir_all(setup.work("d/sub")).unwrap();
    std::fs::write(setup.work("d/a"), "a").unwrap();
    std::fs::write(setup.work("d/sub/b"), "b").unwrap();
    // What an interrupted copy left is nobody's file.
    std::fs::write(setup.work("d/.a.spiderweb-0123456789abcdef.part"), "half").unwrap();
    let here = setup.work("d").display().to_string();
    for line in [
        format!("cp -r {here} :/work/d/copy"),
        format!("cp -r :/work/d {here}/copy"),
    ] {
        setup.ok(&line);
        assert_eq!(names(&setup.work("d/copy")), ["a", "sub"], "{line}");
        assert_eq!(names(&setup.work("d/copy/sub")), ["b"], "{line}");
        std::fs::remove_dir_all(setup.work("d/copy")).unwrap();
    }
}

#[test]
fn one_bad_file_does_not_stop_the_rest() {
    let setup = Setup::new();
    std::fs::create_dir(setup.local("d")).unwrap();
    std::fs::write(setup.local("d/good"), "good").unwrap();
    std::fs::write(setup.local("d/back\\slash"), "bad").unwrap();
    let said = setup.run("cp -r d :/work/d");
    assert!(said.code == 1 && said.err.contains("back\\slash"), "{said:?}");
    assert_eq!(names(&setup.work("d")), ["good"]);
}

#[test]
fn copies_go_on_when_the_node_was_away() {
    let mut setup = Setup::new();
    std::fs::write(setup.local("big"), contents(80_000_000)).unwrap();
    let child = setup.command("cp big :/work/big").spawn().unwrap();
    let begun = |part: Option<std::path::PathBuf>| {
        part.is_some_and(|part| part.metadata().is_ok_and(|m| m.len() > 0))
    };
    until("an upload under way", || begun(partial(&setup.work(""))));
    setup.stop();
    setup.start();
    let said = Said::by(child);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(std::fs::read(setup.work("big")).unwrap() == contents(80_000_000));

    let child = setup.command("cp :/work/big back").spawn().unwrap();
    until("a download under way", || begun(partial(&setup.local(""))));
    setup.stop();
    setup.start();
    let said = Said::by(child);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    same(&setup.local("big"), &setup.local("back"));
    assert_eq!(names(&setup.work("")), ["big"]);
}
