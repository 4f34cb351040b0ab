# A static binary and nothing else.
FROM scratch
COPY dispatcher /usr/local/bin/dispatcher
USER 65532:65532
EXPOSE 5001 8000
ENTRYPOINT ["/usr/local/bin/dispatcher"]
