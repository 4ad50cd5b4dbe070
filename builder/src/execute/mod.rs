//! Running steps: RUN in a container, COPY and ADD by handle, metadata.
