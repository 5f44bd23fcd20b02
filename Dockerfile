# The reference project with gunicorn. docker-compose.yml starts this image as web server, as worker, and to prepare the database.
FROM python:3.12-slim AS build
# An index of packages other than PyPI, if the builder names one: docker compose build --build-arg PIP_INDEX_URL=…
ARG PIP_INDEX_URL
RUN python -m venv /opt/flower
ENV PATH=/opt/flower/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The dependencies alone first: this layer is built again only if pyproject.toml changes.
COPY pyproject.toml /build/
RUN python -c "import tomllib; \
    project = tomllib.load(open('/build/pyproject.toml', 'rb'))['project']; \
    extras = [project['optional-dependencies'][name] for name in ('standalone', 'server', 'postgres')]; \
    print(*project['dependencies'], *sum(extras, []), sep='\n')" >/build/requirements.txt \
 && pip install -r /build/requirements.txt
WORKDIR /app
COPY manage.py ./
COPY flowerapp ./flowerapp
COPY project ./project
COPY templates ./templates
RUN DJANGO_STATIC_ROOT=/app/staticfiles FLOWER_STATE_DIR=/build/state python manage.py collectstatic --noinput \
 && python -m compileall -q flowerapp project

FROM python:3.12-slim
RUN useradd --system --no-create-home --home-dir /nonexistent flower && install -d -o flower -g flower -m 700 /var/lib/flower
COPY --from=build /opt/flower /opt/flower
COPY --from=build /app /app
ENV PATH=/opt/flower/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_STATIC_ROOT=/app/staticfiles FLOWER_STATE_DIR=/var/lib/flower
WORKDIR /app
USER flower
EXPOSE 8000
CMD ["gunicorn", "--config", "python:project.server", "project.wsgi"]
