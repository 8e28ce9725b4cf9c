"""Laws: formulas with few parameters that short runs identify and longer ones are predicted from (NumPy and SciPy).

A :class:`~acclimate.laws.form.Form` is a formula; :func:`~acclimate.laws.fit.fit` and a table make it a
:class:`~acclimate.laws.law.Law`, which predicts. Nothing here loads torch or reads a file.
"""
