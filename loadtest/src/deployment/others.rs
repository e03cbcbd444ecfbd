//! Who else has a manifest? Devices that never connect, so that the policy is as large as a fleet's.

use std::fs;

use anyhow::Context as _;

use super::{Deployment, manifest};

/// Manifests that are signed by one command: their names have to fit on its command line.
const AT_ONCE: usize = 10_000;

impl Deployment {
    /// Adds so many manifests of other devices to the policy.
    ///
    /// # Errors
    /// What could not be written or signed.
    pub(crate) fn others(&self, count: usize) -> anyhow::Result<()> {
        fs::create_dir_all(self.path().join("others"))?;
        let names: Vec<String> = (0..count).map(|number| format!("others/{number}.json")).collect();
        for (number, name) in names.iter().enumerate() {
            let text = manifest::small(&format!("other-{number}"));
            fs::write(self.path().join(name), text).with_context(|| name.clone())?;
        }
        for names in names.chunks(AT_ONCE) {
            let arguments = ["manifest", "sign", "--key", "author.key", "--policy", "policy"];
            self.program.run(self.path(), arguments.into_iter().chain(names.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}
