use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::{Folder, entries, log_at};
use crate::monitor::log::Stream::{Stderr, Stdout};
use crate::monitor::log::read::Reader;
use crate::monitor::log::{CONTENT, LogError};

#[test]
fn lines_become_entries_as_they_end() {
    let folder = Folder::new();
    let mut log = folder.log();
    assert!(!folder.path().exists());
    log.append(Stdout, b"");
    log.append(Stdout, b"Pass");
    log.append(Stderr, b"one\ntwo\nthr");
    assert_eq!(entries(&folder.path()), ["stderr F one", "stderr F two"]);
    log.append(Stdout, b"word: \n\n");
    log.append(Stderr, b"ee");
    log.end(Stderr);
    log.end(Stdout);
    let expected = ["stderr F one", "stderr F two", "stdout F Password: ", "stdout F ", "stderr P three"];
    assert_eq!(entries(&folder.path()), expected);
    let text = fs::read_to_string(folder.path()).unwrap();
    assert_eq!((&text[4..5], &text[19..20], &text[29..38]), ("-", ".", "Z stderr "));
    assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o7777, 0o640);
}

#[test]
fn a_line_without_end_takes_no_memory() {
    let folder = Folder::new();
    let mut log = folder.log();
    let chunk = [b'x'; 32 << 10];
    for round in 0..2048 {
        // Not in step with the size of entries.
        log.append(Stdout, &chunk[round % 7..]);
        assert!(log.held[0].capacity() <= CONTENT);
    }
    log.append(Stdout, b"\n");
    assert_eq!(log.held[0].capacity(), 0);
    let length: usize = (0..2048).map(|round| chunk.len() - round % 7).sum();
    let mut reader = Reader::open(&folder.path()).unwrap();
    let mut seen = 0;
    let mut ended = false;
    while let Some(entry) = reader.next_entry().unwrap() {
        assert!(!ended && (entry.content.len() == CONTENT || !entry.partial));
        seen += entry.content.len();
        ended = !entry.partial;
    }
    assert!(ended);
    assert_eq!((seen, reader.damaged()), (length, 0));
}

#[test]
fn small_writes_grow_what_is_held_up_to_the_limit() {
    let folder = Folder::new();
    let mut log = folder.log();
    for _ in 0..CONTENT {
        log.append(Stderr, b"y");
        assert!(log.held[1].capacity() <= CONTENT);
    }
    assert!(!folder.path().exists());
    log.append(Stderr, b"z\n");
    let expected = [format!("stderr P {}", "y".repeat(CONTENT)), "stderr F z".to_owned()];
    assert_eq!(entries(&folder.path()), expected);
}

#[test]
fn rotation_keeps_size_and_number_and_loses_nothing_that_is_kept() {
    let folder = Folder::new();
    let path = folder.path();
    let mut log = log_at(&path, Some(4000), 3);
    let text: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    for chunk in text.as_bytes().chunks(777) {
        log.append(Stdout, chunk);
    }
    let files: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(files.len(), 3);
    for file in files {
        let file = file.unwrap();
        assert!(file.metadata().unwrap().len() <= 4000, "{file:?}");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
    }
    let mut reader = Reader::open(&path).unwrap();
    let kept = super::contents(&mut reader);
    assert_eq!(reader.damaged(), 0);
    assert!(kept.len() > 160, "{}", kept.len());
    let expected: Vec<_> = (1000 - kept.len()..1000).map(|number| format!("line {number}")).collect();
    assert_eq!(kept, expected);
}

#[test]
fn a_log_of_one_file_begins_anew() {
    let folder = Folder::new();
    let mut log = log_at(&folder.path(), Some(100), 1);
    for number in 0..5 {
        log.append(Stdout, format!("line {number}\n").as_bytes());
    }
    assert_eq!(entries(&folder.path()), ["stdout F line 4"]);
    // An entry that is longer than a file may be has one for itself.
    log.append(Stdout, &[&[b'x'; 200][..], b"\n"].concat());
    assert_eq!(entries(&folder.path()).len(), 1);
}

#[test]
fn a_rotation_that_fails_keeps_the_log_going() {
    let folder = Folder::new();
    let path = folder.path();
    // A folder with something in it cannot be replaced by a rename.
    fs::create_dir_all(path.with_file_name("log.1").join("in the way")).unwrap();
    let mut log = log_at(&path, Some(200), 2);
    for number in 0..100 {
        log.append(Stdout, format!("line {number}\n").as_bytes());
    }
    assert_eq!(entries(&path).len(), 100);
    fs::remove_dir_all(path.with_file_name("log.1")).unwrap();
    for number in 100..110 {
        log.append(Stdout, format!("line {number}\n").as_bytes());
    }
    assert!(fs::metadata(&path).unwrap().len() <= 200);
    assert!(path.with_file_name("log.1").exists());
}

#[test]
fn a_file_that_was_taken_away_is_made_anew_when_it_would_rotate() {
    for files in [1, 3] {
        let folder = Folder::new();
        let mut log = log_at(&folder.path(), Some(100), files);
        log.append(Stdout, b"in the file that goes\n");
        fs::remove_file(folder.path()).unwrap();
        for _ in 0..4 {
            log.append(Stdout, b"0123456789\n");
        }
        assert_eq!(entries(&folder.path()).last().unwrap(), "stdout F 0123456789");
        assert_eq!(log.lost(), 0);
    }
}

#[test]
fn renamed_and_reopened_under_load_nothing_is_lost_or_doubled() {
    let folder = Folder::new();
    let path = folder.path();
    let mut log = folder.log();
    log.open_now().unwrap();
    let text: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let mut renamed = Vec::new();
    for (round, chunk) in text.as_bytes().chunks(997).enumerate() {
        log.append(Stdout, chunk);
        if round % 10 == 3 {
            let aside = path.with_file_name(format!("aside.{round:04}"));
            fs::rename(&path, &aside).unwrap();
            renamed.push(aside);
            // Until it is told, the log goes on in the old file.
            log.append(Stderr, b"in between\n");
            assert!(!path.exists());
            log.reopen().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), 0);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        }
    }
    renamed.push(path);
    let all: Vec<_> = renamed.iter().flat_map(|path| entries(path)).collect();
    let (between, lines): (Vec<_>, Vec<_>) = all.into_iter().partition(|entry| entry.starts_with("stderr"));
    assert_eq!(between.len(), renamed.len() - 1);
    let expected: Vec<_> = (0..20_000).map(|number| format!("stdout F line {number}")).collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_reopen_that_fails_keeps_the_old_file() {
    let folder = Folder::new();
    let path = folder.path();
    let mut log = folder.log();
    log.append(Stdout, b"one\n");
    let aside = path.with_file_name("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(log.reopen(), Err(LogError::Irregular { .. })));
    log.append(Stdout, b"two\n");
    assert_eq!(entries(&aside), ["stdout F one", "stdout F two"]);
    assert_eq!(log.lost(), 0);
}

#[test]
fn nothing_but_a_regular_file_of_that_very_name_is_written() {
    let folder = Folder::new();
    let path = folder.path();
    let target = path.with_file_name("target");
    fs::write(&target, "").unwrap();
    symlink(&target, &path).unwrap();
    assert!(matches!(folder.log().open_now(), Err(LogError::Open { .. })));
    fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(folder.log().open_now(), Err(LogError::Irregular { .. })));
    // With a reader it could be opened.
    let _reader =
        rustix::fs::open(&path, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK, mode).unwrap();
    assert!(matches!(folder.log().open_now(), Err(LogError::Irregular { .. })));
    fs::remove_file(&path).unwrap();
    let inside = path.with_file_name("folder");
    fs::create_dir(&inside).unwrap();
    symlink(&inside, &path).unwrap();
    assert!(log_at(&path.join("log"), None, 1).open_now().is_err());
    assert_eq!(fs::read(&target).unwrap(), b"");
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_there_is_continued() {
    let folder = Folder::new();
    folder.log().append(Stdout, b"one\n");
    let inode = fs::metadata(folder.path()).unwrap().ino();
    folder.log().append(Stdout, b"two\n");
    assert_eq!(entries(&folder.path()), ["stdout F one", "stdout F two"]);
    assert_eq!(fs::metadata(folder.path()).unwrap().ino(), inode);
}

#[test]
fn what_is_lost_is_told_once_the_log_can_be_written() {
    let folder = Folder::new();
    let path = folder.path().parent().unwrap().join("later/log");
    let mut log = log_at(&path, None, 1);
    log.append(Stdout, b"lost\n");
    log.append(Stderr, b"also\nheld");
    fs::create_dir(path.parent().unwrap()).unwrap();
    // Not tried again at once.
    log.append(Stdout, b"lost\n");
    assert_eq!(log.lost(), 15);
    std::thread::sleep(std::time::Duration::from_millis(120));
    log.append(Stdout, b"back\n");
    log.end(Stderr);
    let told = "stderr F hull: 15 bytes of output were lost: No such file or directory (os error 2)";
    assert_eq!(entries(&path), [told, "stdout F back", "stderr P held"]);
}

/// A tmpfs of 64 KiB that only this thread sees.
fn with_small_disk(work: impl FnOnce(&std::path::Path) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: root");
        return;
    }
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let private =
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let folder = Folder::new();
        let path = folder.path();
        let place = path.parent().unwrap();
        rustix::mount::mount(
            "log-test",
            place,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(c"size=64k"),
        )
        .unwrap();
        work(&path);
        rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn a_full_disk_loses_whole_lines_and_says_so() {
    with_small_disk(|path| {
        let mut log = log_at(path, None, 1);
        let line = [&[b'x'; 100][..], b"\n"].concat();
        let chunk = line.repeat(100);
        for _ in 0..20 {
            log.append(Stdout, &chunk);
        }
        let kept = entries(path);
        assert_eq!(log.lost() as usize + kept.len() * 101, 20 * chunk.len());
        assert!(kept.len() > 400, "{}", kept.len());
        let pieces = [b'y'; 3 * CONTENT];
        std::thread::sleep(std::time::Duration::from_millis(120));
        log.append(Stdout, &pieces);
        assert_eq!(log.lost() as usize + kept.len() * 101, 20 * chunk.len() + 2 * CONTENT);
        assert_eq!(entries(path).len(), kept.len());
        let lost = log.lost();
        // Somebody makes room.
        fs::rename(path, path.with_file_name("old")).unwrap();
        fs::remove_file(path.with_file_name("old")).unwrap();
        log.reopen().unwrap();
        log.append(Stderr, b"back\n");
        let told =
            format!("stderr F hull: {lost} bytes of output were lost: No space left on device (os error 28)");
        assert_eq!(entries(path), [told, "stderr F back".to_owned()]);
    });
}
