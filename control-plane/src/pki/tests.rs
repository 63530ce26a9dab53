use super::*;
use std::os::unix::fs::MetadataExt as _;

const HOUR: Duration = Duration::from_secs(3600);

fn authority() -> Authority {
    Authority::make().expect("made").0
}

fn request(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = CertificateParams::default();
    change(&mut params);
    params.serialize_request(&key).expect("a request").der().to_vec()
}

#[test]
fn the_authority_is_made_once_and_kept_private() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Authority::open(dir.path()).expect("made");
    let second = Authority::open(dir.path()).expect("read");
    assert_eq!(first.fingerprint(), second.fingerprint());
    let mode = std::fs::metadata(dir.path().join(AUTHORITY_FILE)).expect("there").mode();
    assert_eq!(mode & 0o777, 0o600);
    // The second one signs with the same key: what it certifies is verified by the first.
    let certificate = second.certify_agent(&request(|_| ()), InstanceId::random(), HOUR).expect("certified");
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("parses");
    let (_, issuer) = x509_parser::parse_x509_certificate(first.certificate()).expect("parses");
    assert_eq!(parsed.issuer(), issuer.subject());
}

#[test]
fn a_damaged_authority_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(AUTHORITY_FILE);
    let ours = Authority::make().expect("made").1;
    let theirs = Authority::make().expect("made").1;
    let (certificate, _) = ours.split_once("-----BEGIN PRIVATE").expect("two parts");
    let (_, key) = theirs.split_once("-----BEGIN PRIVATE").expect("two parts");
    let mixed = format!("{certificate}-----BEGIN PRIVATE{key}");
    for text in ["", "nonsense", certificate, &mixed] {
        files::write_private(&path, text.as_bytes()).expect("written");
        assert!(matches!(Authority::open(dir.path()), Err(PkiError::Damaged { .. })), "{text}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), text);
    }
}

#[test]
fn a_request_gives_nothing_but_its_key() {
    let instance = InstanceId::random();
    let greedy = request(|params| {
        params.distinguished_name.push(DnType::CommonName, "root");
        params.subject_alt_names = vec![SanType::DnsName("control.longshore.internal".try_into().expect("a name"))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let certificate = authority().certify_agent(&greedy, instance, HOUR).expect("certified");
    assert_eq!(instance_of(&certificate), Ok(instance));
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("parses");
    assert_eq!(parsed.subject().to_string(), format!("CN={instance}"));
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().expect("readable").expect("there").value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    let names = parsed.subject_alternative_name().expect("readable").expect("there").value;
    assert_eq!(names.general_names.len(), 1);
    let lifetime = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
    assert_eq!(lifetime, i64::try_from((HOUR + BACKDATED).as_secs()).expect("small"));
}

#[test]
fn requests_that_do_not_do_are_refused() {
    let authority = authority();
    let mut forged = request(|_| ());
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for bytes in [&[][..], b"nonsense", &forged, &forged[..40]] {
        let refused = authority.certify_agent(bytes, InstanceId::random(), HOUR);
        assert!(matches!(refused, Err(CsrError::Unreadable(_))));
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let other = CertificateParams::default().serialize_request(&key).expect("a request");
    assert!(matches!(authority.certify_agent(other.der(), InstanceId::random(), HOUR), Err(CsrError::Algorithm)));
}

#[test]
fn other_certificates_name_no_instance() {
    let authority = authority();
    assert_eq!(instance_of(authority.certificate()), Err(NoInstance));
    assert_eq!(instance_of(b"nonsense"), Err(NoInstance));
    let server = authority.certify_server(&["10.0.0.1".to_owned(), "a.example".to_owned()], HOUR).expect("made");
    assert_eq!(instance_of(&server.cert[0]), Err(NoInstance));
}

#[tokio::test(start_paused = true)]
async fn the_port_renews_its_own_certificate() {
    let certificate = Arc::new(ServerCertificate::new(Arc::new(authority()), Vec::new(), HOUR).expect("made"));
    let first = certificate.current.load_full();
    let shutdown = CancellationToken::new();
    let keeper = tokio::spawn(Arc::clone(&certificate).keep_fresh(shutdown.clone()));
    tokio::time::sleep(HOUR / 2).await;
    assert!(Arc::ptr_eq(&first, &certificate.current.load_full()));
    tokio::time::sleep(HOUR / 4).await;
    assert!(!Arc::ptr_eq(&first, &certificate.current.load_full()));
    shutdown.cancel();
    keeper.await.expect("ends");
}
