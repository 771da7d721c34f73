# The image of web, worker, beat and release (docker-compose.yml).
# A single stage is enough: every requirement is a wheel, so no compiler is needed.
FROM python:3.13-slim-trixie

ENV DJANGO_ENV=production \
    DJANGO_SETTINGS_MODULE=config.settings \
    PYTHONUNBUFFERED=1

# A numeric id, so that the container runtime can verify that it is not root.
RUN groupadd --system --gid 10001 app \
 && useradd --system --uid 10001 --gid app --no-create-home --home-dir /nonexistent app

WORKDIR /app

# Before the code, which changes more often than its requirements.
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore -r requirements.txt

# The files that .dockerignore allows, owned by root, so that the app cannot change its own code.
COPY . .

# A checkout under umask 077 is readable only by its owner, and COPY keeps the modes, so make it readable.
# The variables satisfy the production settings for this command only; no server is contacted.
RUN chmod -R a+rX . \
 && SECRET_KEY=of-the-image-build ALLOWED_HOSTS=localhost DATABASE_URL=sqlite:///:memory: \
    REDIS_URL=redis://localhost CELERY_BROKER_URL=redis://localhost \
    python manage.py collectstatic --noinput

USER 10001:10001
