"""Draw a judged run: terminal, Markdown, one self-contained HTML page, JUnit XML, JSON."""
