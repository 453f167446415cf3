"""The stages of a refresh, as plain functions: what a task does, without knowing what runs it.

``dags/`` calls these from Airflow; tests and ``./kryss refresh --local`` call them one after the other. Every stage reads its
input from the state URL or the database, writes its output under a name made from that input, and can be run again at any time.
"""
