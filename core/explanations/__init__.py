"""Why a model answers as it does: maps, whether they may be believed, juries, pairs. All but the makers are light."""
