# syntax=docker/dockerfile:1

# Compiles. What Cargo fetched and built stays in caches of the builder, so that only what changed is compiled again.
FROM <{ bases.build }> AS build
<%- if apt_build %>
# Debian keeps the newest version of a package only: one that is pinned here is gone with the next security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends <{ apt_build | join(sep=" ") }> \
    && rm -rf /var/lib/apt/lists/*
<%- endif %>
WORKDIR /src
ENV CARGO_TARGET_DIR=/target
COPY . .
# Cargo compares times, and a checkout may be older than what the cache holds of another one: all files are new to it.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/usr/local/cargo/git,sharing=locked \
    --mount=type=cache,target=/target,sharing=locked \
<%- for secret in secrets %>
    --mount=type=secret,id=<{ secret }>,env=<{ secret }> \
<%- endfor %>
    find . -type f -exec touch {} + \
    && cargo build --locked <{ cargo }> \
    && install -D /target/<{ folder }>/<{ program }> /out/<{ program }>

# The same program with a shell and tools, for jobs and for people.
FROM <{ bases.ops }> AS ops
# Debian keeps the newest version of a package only: one that is pinned here is gone with the next security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends <{ apt_runtime | join(sep=" ") }> \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/<{ program }> /usr/local/bin/<{ program }>
<% include "docker/labels.part" -%>
ENV PORT=<{ port }>
EXPOSE <{ port }>
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/<{ program }>"]

# What serves: the program and what it is linked against. It gets SIGTERM itself, and PORT says where it listens.
FROM <{ bases.runtime }> AS runtime
COPY --from=build /out/<{ program }> /usr/local/bin/<{ program }>
<% include "docker/labels.part" -%>
ENV PORT=<{ port }>
EXPOSE <{ port }>
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/<{ program }>"]
