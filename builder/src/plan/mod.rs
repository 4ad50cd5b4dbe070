//! From instructions to steps: reachable stages, arguments in scope, defaults of the platform.
