# Slicescope in a container: docker build -t slicescope . && docker run -p 8501:8501 -v slicescope:/workspace slicescope
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 SLICESCOPE_WORKSPACE=/workspace

WORKDIR /app
COPY requirements.txt .
RUN pip install -r requirements.txt

COPY pyproject.toml README.md LICENSE app.py ./
COPY core core
COPY pages pages
COPY assets assets
COPY .streamlit .streamlit
RUN pip install --no-deps -e . \
    && useradd --create-home slicescope \
    && mkdir /workspace && chown slicescope /workspace

USER slicescope
VOLUME /workspace
EXPOSE 8501
# The first start makes the phantom cohort and evaluates the shipped model on it before the page answers.
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://localhost:8501/_stcore/health', timeout=4)"]
CMD ["sh", "-c", "python -m core demo --quiet-if-ready && exec streamlit run app.py --server.port 8501 --server.address 0.0.0.0 --server.headless true"]
