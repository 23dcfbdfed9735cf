# syntax=docker/dockerfile:1

FROM <{ bases.uv }> AS uv

# Installs what uv.lock names, then the program. What was fetched stays in a cache of the builder.
FROM <{ bases.build }> AS build
<%- if apt_build %>
# Debian keeps the newest version of a package only: one that is pinned here is gone with the next security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends <{ apt_build | join(sep=" ") }> \
    && rm -rf /var/lib/apt/lists/*
<%- endif %>
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_CACHE_DIR=/var/cache/uv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /app
RUN --mount=type=cache,target=/var/cache/uv,sharing=locked \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
<%- for secret in secrets %>
    --mount=type=secret,id=<{ secret }>,env=<{ secret }> \
<%- endfor %>
    uv sync --frozen --no-dev --no-install-project
COPY . .
RUN --mount=type=cache,target=/var/cache/uv,sharing=locked \
<%- for secret in secrets %>
    --mount=type=secret,id=<{ secret }>,env=<{ secret }> \
<%- endfor %>
    uv sync --frozen --no-dev

# What serves, and what runs migrations and jobs with another command.
FROM <{ bases.runtime }> AS runtime
<%- if apt_runtime %>
# Debian keeps the newest version of a package only: one that is pinned here is gone with the next security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends <{ apt_runtime | join(sep=" ") }> \
    && rm -rf /var/lib/apt/lists/*
<%- endif %>
COPY --from=build /app /app
WORKDIR /app
<% include "docker/labels.part" -%>
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=<{ port }>
EXPOSE <{ port }>
USER 65532:65532
# The shell fills in the port and is replaced, so that the server gets SIGTERM itself.
CMD ["sh", "-c", "exec uvicorn <{ app }> --host 0.0.0.0 --port \"$PORT\""]
