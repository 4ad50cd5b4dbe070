//! The store on disk: OCI image layout, unpacked layers, leases, locks.
