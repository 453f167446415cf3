def run(as_json=False): return 0
