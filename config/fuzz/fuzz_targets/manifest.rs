//! Any bytes as a manifest, in both languages: what is accepted prints as canonical JSON and reads back the same, and its
//! rules compile.

#![no_main]

use config::{IssuedManifest, ManifestDraft, Rules, Source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in ["fuzz.json", "fuzz.yaml"] {
        match ManifestDraft::read(&Source::new(name, bytes)) {
            Ok(draft) => {
                let again = ManifestDraft::read(&Source::new("fuzz.json", draft.to_json()));
                assert_eq!(
                    Rules::compile(&draft.network).len(),
                    draft.network.allow.len() + draft.network.deny.len()
                );
                assert_eq!(again, Ok(draft));
            }
            Err(problems) => assert!(!problems.is_empty() && !problems.to_string().is_empty()),
        }
    }
    if let Ok(issued) = IssuedManifest::read(bytes) {
        assert_eq!(IssuedManifest::read(issued.to_json().as_bytes()), Ok(issued));
    }
});
