# The model server with a model. The context holds the binary, ONNX Runtime and
# the model folder; hack/images.sh makes it. BASE needs glibc no older than that
# of the machine on which the binary was linked, and libstdc++.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
COPY libonnxruntime.so.1 /usr/local/lib/libonnxruntime.so.1
COPY modelserver /usr/local/bin/modelserver
COPY model /model
ENV ORT_LIB=/usr/local/lib/libonnxruntime.so.1
USER 65532:65532
EXPOSE 6001 8001 9000
ENTRYPOINT ["/usr/local/bin/modelserver"]
CMD ["--model", "/model"]
