# The managed plugin's root file system where images can be pulled: the same files as `plugin/package` writes, from a
# build that does not depend on the machine's own compiler and libraries.
#
#   docker build --target plugin --output type=local,dest=out .       # BuildKit; writes out/config.json, out/rootfs/
#   docker plugin create microseg:latest out
#
# Without BuildKit, from a container that is never started:
#
#   docker build --target plugin -t microseg-plugin .
#   id=$(docker create microseg-plugin none) && mkdir out
#   docker cp "$id":/config.json out/ && docker cp "$id":/rootfs out/ && docker rm "$id"

FROM debian:12 AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      g++ cmake ninja-build pkg-config binutils libcpp-httplib-dev nlohmann-json3-dev libmnl-dev libnftnl-dev \
      libfmt-dev libsqlite3-dev libssl-dev libcli11-dev doctest-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cmake --preset release -DBUILD_TESTING=OFF \
 && cmake --build --preset release --target microsegd microseg \
 && plugin/package /out

FROM scratch AS plugin
COPY --from=build /out/ /
