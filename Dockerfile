# prunebench with all built-in plugins: `docker run --rm -v "$PWD:/work" prunebench run digits`. The store, MLflow's
# database and the boards are written to the mounted folder.
FROM python:3.12-slim
COPY . /source
RUN pip install --no-cache-dir /source && rm -r /source
WORKDIR /work
ENTRYPOINT ["prunebench"]
CMD ["--help"]
