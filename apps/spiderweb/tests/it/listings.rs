//! ls, tree, stat, exports, df.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::setup::Setup;

fn furnished() -> Setup {
    let setup = Setup::new();
    std::fs::write(setup.work("a.txt"), "hello").unwrap();
    std::fs::write(setup.work(".hidden"), "").unwrap();
    std::fs::create_dir_all(setup.work("dir/sub")).unwrap();
    std::fs::write(setup.work("dir/run"), vec![0; 5000]).unwrap();
    std::fs::set_permissions(setup.work("dir/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("..", setup.work("dir/sub/up")).unwrap();
    std::fs::write(setup.ro("b"), "b").unwrap();
    setup
}

#[test]
fn directories_are_listed() {
    let setup = furnished();
    for (line, listed) in [
        ("ls", "work\nro\n"),
        ("ls /", "work\nro\n"),
        ("ls /work", "a.txt\ndir\n"),
        ("ls -a /work", ".hidden\na.txt\ndir\n"),
        ("ls /work/dir/", "run\nsub\n"),
        ("ls /work/dir/sub/up/../../run", "run\n"),
        ("ls /work/a.txt", "a.txt\n"),
        ("ls /work/dir /ro", "/work/dir:\nrun\nsub\n\n/ro:\nb\n"),
        ("--export work ls /dir", "run\nsub\n"),
        ("ls --export ro", "b\n"),
    ] {
        assert_eq!(setup.ok(line), listed, "{line}");
    }
    let long = setup.ok("ls -lh /work/dir");
    let lines: Vec<Vec<&str>> = long
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][..3], ["-rwxr-xr-x", "4.9", "KiB"]);
    assert_eq!(lines[0][5], "run");
    assert!(lines[1][0].starts_with("drwx") && lines[1][5] == "sub", "{long}");
    let unsorted = setup.ok("ls -U /work");
    assert!(unsorted.contains("a.txt\n") && unsorted.contains("dir\n"));
}

#[test]
fn programs_get_json() {
    let setup = furnished();
    let listed = setup.json("ls /work");
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["path"], "/work/a.txt");
    assert_eq!(listed[0]["name"], "a.txt");
    assert_eq!(listed[0]["kind"], "file");
    assert_eq!(listed[0]["size"], 5);
    assert_eq!(listed[1]["kind"], "directory");
    assert!(listed[0]["modified"].as_str().unwrap().ends_with('Z'));
    assert_eq!(setup.json("ls /work/dir/sub -a")[0]["name"], "up");
    assert_eq!(setup.json("tree /work")[1]["path"], "/work/dir");
    let stat = setup.json("stat /work/a.txt");
    assert_eq!((&stat["export"], &stat["links"]), (&"work".into(), &1.into()));
    let exports = setup.json("exports");
    assert_eq!(
        (&exports[0]["name"], &exports[1]["read_only"]),
        (&"work".into(), &true.into())
    );
    let df = setup.json("df");
    assert!(
        df[0]["size"].as_u64().unwrap() > 0 && df[0]["export"] == "work",
        "{df}"
    );
}

#[test]
fn trees_are_drawn_and_end_at_links_that_lead_back() {
    let setup = furnished();
    assert_eq!(
        setup.ok("tree /work"),
        "/work\n├── a.txt\n└── dir\n    ├── run\n    └── sub\n        └── up\n\n3 directories, 2 files\n"
    );
    assert_eq!(
        setup.ok("tree -L 1 /work"),
        "/work\n├── a.txt\n└── dir\n\n1 directory, 1 file\n"
    );
    assert!(setup.ok("tree").starts_with("/\n├── ro\n│   └── b\n└── work\n"));
}

#[test]
fn everything_known_about_a_file_is_shown() {
    let setup = furnished();
    let text = setup.ok("stat /work/dir/run");
    for part in ["/work/dir/run", "5000 bytes (4.9 KiB)", "(0755)", "1 link"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(setup.ok("exports").contains("read-only"));
    assert!(setup.ok("df -h").contains("iB"));
}

#[test]
fn a_path_narrows_what_is_said_of_exports_or_is_refused() {
    let setup = furnished();
    for (line, exports) in [
        ("df /", &["work", "ro"][..]),
        ("df /ro", &["ro"]),
        ("--export ro df /", &["ro"]),
    ] {
        let shown = setup.json(line);
        let shown: Vec<_> = shown
            .as_array()
            .unwrap()
            .iter()
            .map(|row| &row["export"])
            .collect();
        assert_eq!(shown, exports, "{line}");
    }
    let shown = setup.json("exports /ro/");
    assert_eq!(
        (&shown[0]["name"], shown.as_array().unwrap().len()),
        (&"ro".into(), 1)
    );
    assert_eq!(setup.ok("services /"), "");
    for (line, code, words) in [
        ("df /nix", 1, "no export named \"nix\"; it has work, ro"),
        ("exports /nix", 1, "no export named \"nix\""),
        ("services /nix", 1, "no export named \"nix\""),
        ("services /work", 1, "/work is a folder, not a service"),
        (
            "df /work/dir",
            2,
            "/work/dir lies within the export work; name the export",
        ),
        ("exports /work/dir", 2, "lies within the export work"),
    ] {
        let said = setup.run(line);
        assert!(
            said.code == code && said.err.contains(words) && said.out.is_empty(),
            "{line}: {said:?}"
        );
    }
}

#[test]
fn colour_is_for_terminals_and_those_who_ask() {
    let setup = furnished();
    assert!(!setup.ok("ls /work").contains('\x1b'));
    assert!(setup.ok("--color always ls /work").contains("\x1b["));
    assert!(!setup.ok("--color never ls /work").contains('\x1b'));
}

#[test]
fn a_directory_of_many_pages_is_complete_and_in_order() {
    let setup = Setup::new();
    let expected: Vec<_> = (0..9000).map(|number| format!("{number:05}")).collect();
    for name in &expected {
        std::fs::write(setup.work(name), "").unwrap();
    }
    let listed = setup.ok("ls /work");
    assert!(listed.lines().eq(expected.iter().map(String::as_str)));
    assert_eq!(setup.ok("ls -U /work").lines().count(), 9000);
}
