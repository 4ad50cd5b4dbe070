//! The monitor: parent of the processes of a pod or container, keeper of their output and exits.
