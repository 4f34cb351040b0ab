# Debian's Redis, for clusters that can't pull a public image; where one can be
# pulled, set redisImage to redis:7.2 instead.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends redis-server \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
USER 65532:65532
EXPOSE 6379
CMD ["redis-server"]
