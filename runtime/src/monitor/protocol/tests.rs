use super::*;

const SIGNAL: Request<'static> = Request::Signal { subject: Subject::First, number: 9, all: false };

const REQUESTS: [Request<'static>; 18] = [
    Request::Hello { version: 7 },
    Request::Status { container: None },
    Request::Status { container: Some("c1") },
    SIGNAL,
    Request::Signal { subject: Subject::Container("c1"), number: 64, all: true },
    Request::Resize { subject: Subject::Exec, rows: 24, columns: u16::MAX },
    Request::Wait { container: None },
    Request::Create(Create {
        container: "c1",
        folder: "/containers/c1",
        log: Some("/logs/c1"),
        log_size: Some(u64::MAX),
        log_files: 3,
        flags: CreateFlags { terminal: true, stdin: false, stdin_once: true, bound: false },
    }),
    Request::Create(Create {
        container: "c1",
        folder: "/c",
        log: None,
        log_size: None,
        log_files: 1,
        flags: CreateFlags { terminal: false, stdin: true, stdin_once: false, bound: true },
    }),
    Request::Start { container: "c1" },
    Request::Exec(Exec { container: "c1", terminal: false, bound: true }),
    Request::Attach(Attach {
        container: "c1",
        streams: Streams { stdin: true, stdout: false, stderr: true },
    }),
    Request::ReopenLog { container: "c1" },
    Request::Pause(Pause {
        pod: "p1",
        folder: "/pods/p1",
        network_namespace: Some("/netns/p1"),
        hostname: None,
        cgroup: "/hull/p1",
        sysctls: Some("net.ipv4.ip_forward=1\nkernel.shm_rmid_forced=1"),
        flags: PauseFlags { pid: false, ipc: true },
    }),
    Request::Delete { container: "c1" },
    Request::Watch,
    Request::Shutdown,
    Request::Signal { subject: Subject::Exec, number: 1, all: false },
];

const REPLIES: [Reply<'static>; 10] = [
    Reply::Hello { version: 1 },
    Reply::Done,
    Reply::Status { phase: Phase::Running, pid: 4_000_000, exit: None },
    Reply::Status { phase: Phase::Stopped, pid: 0, exit: Some(Exit::Signal(9)) },
    Reply::Status { phase: Phase::Other(99), pid: 1, exit: None },
    Reply::Exited(Exit::Code(255)),
    Reply::Started { pid: 7 },
    Reply::Ended { container: "c1", exit: Exit::Code(0) },
    Reply::Error { kind: ErrorKind::Busy, text: "cannot serve: too many callers" },
    Reply::Error { kind: ErrorKind::Other(77), text: "" },
];

#[test]
fn messages_survive_the_wire() {
    for (sequence, request) in REQUESTS.iter().enumerate() {
        let sequence = sequence as u32 + 40;
        let packet = encode_request(request, sequence);
        assert_eq!(decode_request(packet.as_bytes()), Ok((sequence, *request)));
    }
    for reply in &REPLIES {
        assert_eq!(decode_reply(encode_reply(reply, u32::MAX).as_bytes()), Ok((u32::MAX, *reply)));
    }
}

#[test]
fn the_frozen_bytes_of_a_signal_request() {
    let packet = encode_request(&Request::Signal { subject: Subject::First, number: 15, all: false }, 2);
    let expected = b"hull\x01\0\x03\0\x02\0\0\0\x08\0\0\0\x02\0\x04\0\x0f\0\0\0";
    assert_eq!(packet.as_bytes(), expected);
}

#[test]
fn every_truncation_and_every_flipped_byte_is_an_error_or_another_message() {
    for request in &REQUESTS {
        let packet = encode_request(request, 1);
        for end in 0..packet.as_bytes().len() {
            assert!(decode_request(&packet.as_bytes()[..end]).is_err());
        }
        for position in 0..packet.as_bytes().len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = packet.as_bytes().to_vec();
                bytes[position] = value;
                fuzz(&bytes);
            }
        }
    }
}

#[test]
fn noise_never_panics() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..20_000usize {
        let mut bytes = encode_reply(&REPLIES[round % REPLIES.len()], 3).as_bytes().to_vec();
        for _ in 0..1 + round % 8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        fuzz(&bytes);
    }
    fuzz(&vec![0xff; MAX_MESSAGE * 2]);
}

#[test]
fn oversized_packets_are_garbage() {
    let mut bytes = encode_request(&Request::Status { container: None }, 1).as_bytes().to_vec();
    bytes.resize(MAX_MESSAGE + 1, 0);
    assert!(matches!(decode_request(&bytes), Err(DecodeError::Garbage(_))));
}

#[test]
fn a_newer_callers_unknown_request_can_be_answered() {
    let packet = Packet::new(0x0777, 5).field(900, b"future");
    assert_eq!(
        decode_request(packet.as_bytes()),
        Err(DecodeError::Unsupported { sequence: 5, kind: 0x0777 })
    );
}

#[test]
fn unknown_fields_are_skipped_unless_critical() {
    let packet = Packet::new(wire::SIGNAL, 1).field(900, b"hint").number(wire::TAG_NUMBER, 9);
    assert_eq!(decode_request(packet.as_bytes()), Ok((1, SIGNAL)));
    let packet = Packet::new(wire::SIGNAL, 1).field(900 | CRITICAL, b"x").number(wire::TAG_NUMBER, 9);
    assert!(matches!(decode_request(packet.as_bytes()), Err(DecodeError::Unsupported { .. })));
    let packet = Packet::new(wire::SIGNAL, 1).number(wire::TAG_NUMBER | CRITICAL, 9);
    assert_eq!(decode_request(packet.as_bytes()), Ok((1, SIGNAL)));
}

#[test]
fn a_value_that_grew_is_read_by_its_known_prefix() {
    let packet = Packet::new(wire::SIGNAL, 1).field(wire::TAG_NUMBER, &[9, 0, 0, 0, 1, 2, 3]);
    assert_eq!(decode_request(packet.as_bytes()), Ok((1, SIGNAL)));
}

#[test]
fn a_number_that_is_too_short_is_not_a_missing_one() {
    let refused = |packet: Packet| {
        assert!(matches!(decode_request(packet.as_bytes()), Err(DecodeError::BadField { .. })));
    };
    // To the first process instead of all, without flags, never rotated.
    refused(Packet::new(wire::SIGNAL, 1).number(wire::TAG_NUMBER, 9).field(wire::TAG_ALL | CRITICAL, &[1]));
    let of = |kind| Packet::new(kind, 1).field(wire::TAG_CONTAINER, b"c").field(wire::TAG_FOLDER, b"/c");
    refused(of(wire::EXEC).field(wire::TAG_FLAGS, &[2, 0]));
    refused(of(wire::CREATE).field(wire::TAG_LOG_SIZE, &[1, 0, 0, 0]));
}

#[test]
fn signals_out_of_range_are_refused_with_the_field() {
    for number in [0, 65, u32::MAX] {
        let packet = Packet::new(wire::SIGNAL, 1).number(wire::TAG_NUMBER, number);
        assert!(matches!(decode_request(packet.as_bytes()), Err(DecodeError::BadField { .. })));
    }
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let text = "ü".repeat(MAX_TEXT);
    let packet = encode_reply(&Reply::Error { kind: ErrorKind::Failed, text: &text }, 1);
    let Ok((_, Reply::Error { text: cut, .. })) = decode_reply(packet.as_bytes()) else { panic!() };
    assert_eq!(cut.len(), MAX_TEXT);
    assert!(text.starts_with(cut));
}

#[test]
fn what_does_not_fit_into_a_packet_is_not_sent() {
    let long = "x".repeat(MAX_MESSAGE);
    assert!(encode_request(&Request::Start { container: &long }, 1).overflowed());
    assert!(!encode_request(&Request::Start { container: &long[..256] }, 1).overflowed());
}

#[test]
fn texts_without_a_name_or_with_a_terminator_are_refused() {
    for container in ["", "a\0b"] {
        let packet = encode_request(&Request::Start { container }, 1);
        assert!(matches!(decode_request(packet.as_bytes()), Err(DecodeError::BadField { .. })));
    }
}
