//! Images as files: docker-archive, oci-archive, OCI folder, and a plain root file system to import.
